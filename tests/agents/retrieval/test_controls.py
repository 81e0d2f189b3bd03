"""Ways to break recall on purpose show what they say."""

import pytest
import torch

from engram_rl.agents.retrieval.controls import CONTROLS, Control, Empty, Random, Shuffled, make_control
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


def drawing(kind):
    generator = torch.Generator().manual_seed(0)
    return {Empty: Empty, Random: lambda: Random(generator), Shuffled: lambda: Shuffled(generator, outcome=4)}[kind]()


class TestOnSlots:
    """What each makes of slots, of which -1 says that there is none."""

    SLOTS = torch.tensor([[0, 3, -1], [-1, 2, 0]])

    def some(self):
        made = memory_input(num_envs=1, neighbours=0)
        for place in ([1, 1], [2, 2], [3, 3], [4, 4]):
            found_at(made, 0, place)
        return made.memory

    @pytest.mark.parametrize("kind", [Empty, Random, Shuffled])
    def test_where_there_is_no_entry_there_is_none(self, kind):
        none, full, empty = torch.full_like(self.SLOTS, -1), self.some(), memory_input().memory
        assert torch.equal(drawing(kind).choose(none, full), none)
        assert torch.equal(drawing(kind).choose(none, empty), none)

    def test_empty_has_none(self):
        assert (drawing(Empty).choose(self.SLOTS, self.some()) == -1).all()

    def test_random_has_any_of_the_memory_where_there_is_one_and_believes_it_fully(self):
        control, memory, drawn = drawing(Random), self.some(), set()
        memory.forget(torch.tensor([1]))
        for _ in range(40):
            chosen = control.choose(self.SLOTS, memory)
            assert torch.equal(chosen >= 0, self.SLOTS >= 0)
            drawn |= set(chosen[self.SLOTS >= 0].tolist())
        assert drawn == {0, 2, 3}
        values, confidence = torch.rand(2, 3, 11), torch.rand(2, 3)
        told, believed = control.alter(self.SLOTS, values, confidence, memory)
        assert told is values
        assert torch.equal(believed, (self.SLOTS != -1).float())

    def test_shuffled_tells_the_outcome_of_an_entry_of_the_memory_beside_what_else_is_right(self):
        control, memory = drawing(Shuffled), self.some()
        assert torch.equal(control.choose(self.SLOTS, memory), self.SLOTS)
        values, confidence = torch.rand(2, 3, 11), torch.rand(2, 3)
        told, believed = control.alter(self.SLOTS, values, confidence, memory)
        assert believed is confidence
        assert torch.equal(told[..., 4:], values[..., 4:])
        outcomes = {tuple(row) for row in memory.values[memory.slots][:, :4].tolist()}
        assert len(outcomes) == 4 and {tuple(row) for row in told[..., :4].flatten(0, 1).tolist()} <= outcomes
        empty = memory_input().memory
        assert control.alter(self.SLOTS, values, confidence, empty) == (values, confidence)


def test_each_name_makes_its_control_and_three_of_them_none():
    made = {name: type(make_control(name, 0, outcome=4)) for name in CONTROLS}
    none = type(None)
    assert made == {"none": none, "empty": Empty, "shuffled": Shuffled, "random": Random} | dict.fromkeys(
        ("last_site", "novelty"), none
    )


def test_what_is_drawn_is_told_by_the_seed():
    memory, slots = TestOnSlots().some(), torch.zeros(1, 50, dtype=torch.int64)
    one, same, other = (make_control("random", seed, outcome=4).choose(slots, memory) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_control_that_breaks_nothing_leaves_all_as_it_is():
    slots, values, confidence = torch.tensor([[1, -1]]), torch.rand(1, 2, 11), torch.rand(1, 2)
    control, memory = Control(), memory_input().memory
    assert control.choose(slots, memory) is slots
    assert control.alter(slots, values, confidence, memory) == (values, confidence)
    assert control.copied() is control and control.state_dict() == {}
