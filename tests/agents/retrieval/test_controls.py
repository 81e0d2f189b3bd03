"""Ways to break recall on purpose show what they say."""

import torch

from engram_rl.agents.retrieval.controls import Empty, Random, Shuffled
from tests.agents.retrieval_worlds import found_at, memory_input, show, tell


class TestControls:
    def filled(self, control):
        made = memory_input(num_envs=2, control=control)
        for place in ([4, 4], [2, 7], [6, 1]):
            for env in range(2):
                found_at(made, env, place)
        return made

    def test_empty_shows_nothing(self):
        assert not show(self.filled(Empty()), [[0, 8]] * 2)[1].any()

    def test_random_shows_any_entries_and_trusts_all(self):
        made = self.filled(Random(torch.Generator().manual_seed(0)))
        tell(made, [[6, 2]] * 2, [[6, 1]] * 2)
        ways = {tuple(way) for _ in range(30) for way in show(made, [[0, 8]] * 2)[0]["way"][0].tolist()}
        assert len(ways) >= 3
        tokens, there = show(made, [[0, 8]] * 2)
        assert torch.equal(tokens["confidence"], there.float())

    def test_shuffled_shows_the_right_entries_with_what_came_of_others(self):
        right, made = self.filled(None), self.filled(Shuffled(torch.Generator().manual_seed(0), outcome=4))
        (told, there), (shown, also_there) = show(right, [[0, 8]] * 2), show(made, [[0, 8]] * 2)
        assert torch.equal(there, also_there)
        for same in ("kind", "key", "distance", "action", "fresh", "confidence"):
            assert torch.equal(told[same], shown[same])
        assert not torch.equal(told["way"], shown["way"])
