"""Who else reads what is recalled: players, the other environments of a world, and a run that goes on."""

import numpy as np
import pytest
import torch

from engram_rl.agents.retrieval.controls import Empty, Random, Shuffled
from engram_rl.agents.retrieval.tokens import SHOWN
from tests.agents.retrieval_worlds import REACH, found_at, memory_input, show, tell


def test_in_some_episodes_nothing_is_shown_but_to_players_always():
    made = memory_input(num_envs=1, neighbours=0, reward_sites=1, memory_dropout=0.5)
    shown = []
    for _ in range(40):
        found_at(made, 0, [4, 4])
        shown += [bool(show(made, [[0, 8]])[1].any())] * 2
        tell(made, [[0, 8]], [[0, 7]])
        assert bool(show(made, [[0, 8]])[1].any()) == shown[-1]
    assert 20 < sum(shown) < 60
    player = made.player(1)
    for _ in range(20):
        found_at(player, 0, [4, 4])
        assert show(player, [[0, 8]])[1].any()


@pytest.mark.parametrize(
    ("control", "there"), [(None, True), (Random(torch.Generator().manual_seed(0)), True), (Empty(), False)]
)
def test_what_is_saved_goes_on_as_if_it_had_never_been(control, there):
    made, other = memory_input(control=control), memory_input(control=control)
    for place in ([4, 4], [2, 7]):
        found_at(made, 0, place)
    tell(made, [[3, 3]] * 2, [[3, 4]] * 2, reward=[0.0, 1.0])
    state = made.state_dict()
    shown = []
    for one in (made, other):
        one.load_state_dict(state)
        tell(one, [[3, 4]] * 2, [[3, 5]] * 2, done=[True, True])
        shown.append(one.read(np.array([[3, 3]] * 2), explore=True))
    assert shown[0][SHOWN].any() == there
    assert all(torch.equal(shown[0][name], shown[1][name]) for name in shown[0])


def test_a_player_of_separate_worlds_begins_with_an_empty_memory_and_writes_it():
    made = memory_input()
    found_at(made, 0, [4, 3])
    player = made.player(3)
    assert not player.read(np.array([[0, 8]] * 3), explore=False)[SHOWN].any()
    before = len(made.memory)
    found_at(player, 1, [2, 2])
    assert player.read(np.array([[0, 8]] * 3), explore=False)[SHOWN].any()
    assert len(made.memory) == before


def test_a_player_of_a_shared_world_reads_what_was_learned_and_changes_nothing():
    made = memory_input(separate=False)
    found_at(made, 0, [4, 3])
    player = made.player(3)
    assert player.read(np.array([[0, 8]] * 3), explore=False)[SHOWN].any(dim=1).all()
    before = made.state_dict()["memory"]
    found_at(player, 1, [2, 2])
    assert made.state_dict()["memory"]["values"].equal(before["values"])


def test_a_shared_world_has_one_clock_for_all_who_read_it():
    made = memory_input(num_envs=2, separate=False, neighbours=0, reward_sites=2)
    for n in range(40):
        found_at(made, 0, [n % 9, n // 9])
    latest = [[39 % 9, 39 // 9], [38 % 9, 38 // 9]]
    for who in (made, made.player(2)):
        tokens, there = show(who, [[0, 0]] * 2)
        assert there.all()
        assert (tokens["way"] * REACH).round().tolist() == [latest, latest]
        assert torch.equal(tokens["fresh"][0], tokens["fresh"][1])
        assert (tokens["fresh"] == torch.tensor([1.0, 1.0])).all()  # half an episode, and one
    old = made.memory.find(made._entries.site_names(np.array([0]), np.array([[0, 0]], np.float32)))
    assert made._look(np.array([[0, 0]] * 2), np.arange(2), touch=False).age[0, 0] == 0.5
    assert made.memory.values[old, -1] == 0


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("control", [Random, lambda generator: Shuffled(generator, outcome=4)])
def test_what_a_player_draws_changes_nothing(separate, control):
    made = memory_input(separate=separate, memory_dropout=0.5, control=control(torch.Generator().manual_seed(0)))
    for place in ([4, 4], [2, 7], [6, 1]):
        found_at(made, 0, place)
    before, control_before = made._generator.get_state(), made._retrieve.control.state_dict()["generator"]
    player = made.player(2)
    for place in ([4, 4], [2, 7], [6, 1]):
        found_at(player, 1, place)
        player.read(np.array([[0, 8]] * 2), explore=False)
    assert torch.equal(made._generator.get_state(), before)
    assert torch.equal(made._retrieve.control.state_dict()["generator"], control_before)


def test_of_episodes_that_are_left_in_the_middle_nothing_is_written():
    made = memory_input(num_envs=1, neighbours=2, reward_sites=1)
    tell(made, [[1, 1]], [[1, 2]], reward=[1.0])
    made.begin_episodes()
    tell(made, [[5, 5]], [[5, 6]], done=[True])
    assert made.memory.values[made.memory.slots][:, 2].tolist() == [0]  # one passage, without reward


def test_when_all_begin_anew_all_are_shown():
    made = memory_input(num_envs=2, neighbours=0, reward_sites=1, separate=False, memory_dropout=1.0)
    found_at(made, 0, [4, 4])
    shown = lambda: made.read(np.array([[0, 8]] * 2), explore=True)[SHOWN][:, 0].tolist()  # noqa: E731
    assert shown() == [False, True]
    made.begin_episodes()
    assert shown() == [True, True]


def test_a_player_of_one_shared_world_goes_on_with_its_clock():
    made = memory_input(num_envs=1, separate=False, neighbours=0, reward_sites=1)
    found_at(made, 0, [4, 4])
    for _ in range(2):
        tell(made, [[0, 8]], [[0, 7]], done=[True])
    assert show(made.player(3), [[0, 8]] * 3)[0]["fresh"][:, 0].tolist() == pytest.approx([1 / 3] * 3)
