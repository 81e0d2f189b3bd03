"""The archive and its parts, each beside a slow reference."""

import gymnasium as gym
import minigrid  # noqa: F401
import numpy as np
import pytest
import torch
from gymnasium import spaces
from minigrid.wrappers import FullyObsWrapper

from engram_rl.agents.goal_directed.archive import Archive, selection_weights
from engram_rl.agents.goal_directed.best_actions import BestActions
from engram_rl.agents.goal_directed.cells import MiniGridCells, PictureCells, RoundedCells, make_cells
from engram_rl.agents.goal_directed.sticky import StickyExplorer
from engram_rl.agents.goal_directed.trajectories import ROOT, Trajectories
from engram_rl.envs.dead_reckoning import DeadReckoning
from engram_rl.memory import TransitionMemory


class SlowArchive:
    """A dict from cell to (score, -steps, actions), and counts: one environment after the other."""

    def __init__(self):
        self.best, self.seen = {}, {}

    def come(self, cell, score, actions):
        told = (score, -len(actions), tuple(actions))
        if cell not in self.best or told[:2] > self.best[cell][:2]:
            self.best[cell] = told


@pytest.mark.parametrize("nodes", [64, 2**16])
def test_the_archive_is_that_of_a_slow_reference(nodes):
    rng, E = np.random.default_rng(0), 3
    archive, slow = Archive(TransitionMemory(1, 2, 400), Trajectories(nodes), E), SlowArchive()
    at, score, actions = np.zeros(E), np.zeros(E), [[] for _ in range(E)]
    archive.begin(at[:, None], np.arange(E))
    slow.come(0.0, 0.0, [])
    for _ in range(300):
        taken, exploring = rng.integers(2, size=E), rng.random(E) < 0.7
        there = np.clip(at + np.where(taken == 1, rng.integers(1, 3, size=E), -1), 0, 15)
        reward, end = rng.integers(0, 2, size=E) * (there % 5 == 0), rng.random(E) < 0.08
        archive.step(at[:, None], taken, there[:, None], reward.astype(float), end, exploring)
        begun = []
        for env in range(E):
            actions[env].append(int(taken[env]))
            score[env] += reward[env]
        for env in sorted(range(E), key=lambda env: (score[env], -len(actions[env]))):  # the batch is one moment
            if not end[env]:
                slow.come(there[env], score[env], actions[env])
                slow.seen[there[env]] = slow.seen.get(there[env], 0) + exploring[env]
            else:
                there[env], score[env], actions[env] = 0, 0, []
                begun.append(env)
        at = there
        if begun:
            archive.begin(at[begun, None], np.array(begun))
    ids = np.flatnonzero(archive.archived)
    cells = archive.memory.states.vectors[ids, 0]
    assert sorted(cells) == sorted(slow.best) and len(archive) == len(slow.best)
    ways, lengths = archive.way_to(ids)
    for cell, id_, way, length in zip(cells, ids, ways, lengths, strict=True):
        best = slow.best[cell]
        assert (archive.score[id_], -archive.length[id_]) == best[:2] and length == -best[1]
        assert archive.seen[id_] == slow.seen.get(cell, 0)
        assert (way[length:] == -1).all() and len(best[2]) == length
        if nodes > 64:  # of equally good ones the first of a moment may be another
            assert len(way[:length]) == len(best[2])


def test_selection_is_by_the_weights_of_the_paper():
    archive, cells = Archive(TransitionMemory(1, 2, 100), Trajectories(), 1), np.arange(4.0)[:, None]
    for cell in cells:
        archive.begin(cell[None], np.array([0]))
    archive.seen[:4] = 0, 3, 8, 99
    expected = np.array([1 / (count + 1) ** 0.5 for count in (0, 3, 8, 99)])
    assert selection_weights(archive.seen[:4]) == pytest.approx(expected)
    drawn = np.bincount(archive.choose(40_000, np.random.default_rng(0)), minlength=4) / 40_000
    assert drawn == pytest.approx(expected / expected.sum(), abs=0.01)


def test_of_what_can_be_reached_it_chooses_by_the_same_weights():
    archive = Archive(TransitionMemory(1, 2, 100), Trajectories(), 1)
    for cell in np.arange(4.0)[:, None]:
        archive.begin(cell[None], np.array([0]))
    archive.seen[:4] = 0, 3, 8, 99
    row, ids, rng = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 3, 2, 1, 2, 50]), np.random.default_rng(0)
    drawn = np.array([archive.choose_among(row, ids, 3, rng) for _ in range(10_000)])
    assert np.mean(drawn[:, 0] == 0) == pytest.approx(1 / 1.1, abs=0.02) and (drawn[:, 1] == 2).all()
    assert set(drawn[:, 2]) == {1, 2} and np.mean(drawn[:, 2] == 1) == pytest.approx(3 / 5, abs=0.02)
    archive.archived[:] = False
    assert archive.choose_among(row, ids, 3, rng).tolist() == [3, 2, 50]  # nothing better than what there is


def test_cells_in_which_the_task_ended_are_none_to_return_to():
    archive = Archive(TransitionMemory(1, 2, 100), Trajectories(), 1)
    archive.begin(np.zeros((1, 1)), np.array([0]))
    archive.step(np.zeros((1, 1)), np.array([1]), np.ones((1, 1)), np.ones(1), np.array([True]), np.array([True]))
    assert len(archive) == 1 and set(archive.choose(20, np.random.default_rng(0))) == {0}


def test_what_the_memory_forgets_the_archive_forgets():
    archive = Archive(TransitionMemory(1, 2, 64), Trajectories(), 1)
    archive.begin(np.zeros((1, 1)), np.array([0]))
    for at in range(300):
        here = np.array([[float(at)]])
        archive.step(here, np.array([1]), here + 1, np.zeros(1), np.array([False]), np.array([True]))
        ids = np.flatnonzero(archive.archived)
        assert archive.memory.states.used[ids].all()
        assert (archive.length[ids] == archive.memory.states.vectors[ids, 0]).all()
    assert 40 < len(archive) <= 64


def test_trajectories_are_kept_when_the_tree_is_tidied_and_gone_when_nobody_wants_them():
    rng, tree = np.random.default_rng(0), Trajectories(64)
    wanted, ways, here, done = [], [], np.array([ROOT, ROOT]), [[], []]
    for _ in range(2000):
        if not tree.room_for(2):
            names = tree.tidy(np.concatenate([np.array(wanted, int), here]))
            wanted, here = [int(names[node]) for node in wanted], names[here]
            assert min(wanted, default=0) >= 0
        taken = rng.integers(5, size=2)
        here = tree.add(here, taken)
        for env in range(2):
            done[env].append(int(taken[env]))
            if rng.random() < 0.01:
                wanted.append(int(here[env]))
                ways.append(list(done[env]))
            if rng.random() < 0.1:
                here[env], done[env] = ROOT, []
    found, lengths = tree.actions_to(np.array(wanted))
    assert [way[:length].tolist() for way, length in zip(found, lengths, strict=True)] == ways
    assert len(tree) < 2000


def test_the_best_actions_are_those_of_a_slow_reference_and_lead_on():
    rng, memory = np.random.default_rng(0), TransitionMemory(1, 3, 200)
    best, slow = BestActions(memory, torch.Generator().manual_seed(0)), {}
    for _ in range(40):
        cells = rng.integers(12, size=(9, 1)).astype(np.float32)
        action, gained = rng.integers(3, size=9), rng.integers(-1, 9, size=9).astype(float)
        memory.write(cells, action, cells + 1)
        best.take_in(cells * 2, cells, action, gained)
        for cell, did, value in zip(cells[:, 0], action, gained, strict=True):
            if value and value >= slow.get(cell, (-np.inf,))[0]:
                slow.setdefault(cell, (value, set()))
                slow[cell] = (value, slow[cell][1] | {did} if slow[cell][0] == value else {did})
    assert len(best) == len(slow)
    for cell, (value, did) in slow.items():
        id_ = memory.states.find(np.array([[cell]]), np.zeros(1, int))
        assert best.to_go[id_] == value and best.action[id_[0]] in did
    unknown = best.worth(np.array([[0.0], [99.0]]), np.array([-5.0, -5.0]))
    assert unknown.tolist() == [slow[0.0][0], -5.0]
    seen, action = best.sample(64)
    ids = memory.states.find(seen / 2, np.zeros(64, int))
    assert (best.action[ids] == action).all()


def test_half_of_what_is_drawn_lies_on_the_best_way():
    memory = TransitionMemory(1, 2, 100)
    best = BestActions(memory, torch.Generator().manual_seed(0))
    cells = np.arange(20.0, dtype=np.float32)[:, None]
    action = np.ones(20, int)
    memory.write(cells, action, cells + 1)
    best.take_in(cells, cells, action, 1 + cells[:, 0])
    best.follow(memory.states.find(np.array([[17.0]]), np.zeros(1, int)))
    seen, _ = best.sample(4000)
    assert np.mean(seen >= 17) == pytest.approx(0.5 + 0.5 * 3 / 20, abs=0.03)


def test_ways_do_not_go_on_from_cells_whose_ids_the_memory_gave_to_others():
    memory = TransitionMemory(1, 2, 64)
    best = BestActions(memory, torch.Generator().manual_seed(0))
    for at in range(0, 400, 8):
        cells = np.arange(at, at + 8, dtype=np.float32)[:, None]
        memory.write(cells, np.ones(8, int), cells + 1)
        if at < 64:
            best.take_in(cells, cells, np.ones(8, int), np.ones(8))
    assert len(best) and (best.worth(cells, np.full(8, -1.0)) == -1).all()
    best.follow(memory.states.find(cells, np.zeros(8, int)))
    assert not len(best._way)


def test_actions_are_repeated_as_often_as_said_and_fresh_ones_are_drawn():
    explorer = StickyExplorer(4, 5000, 0.8, torch.Generator().manual_seed(0))
    first = explorer(None)
    assert np.bincount(first, minlength=4) / 5000 == pytest.approx(0.25, abs=0.03)
    explorer.observe(first, fresh=np.zeros(5000, bool))
    assert np.mean(explorer(None) == first) == pytest.approx(0.8 + 0.2 / 4, abs=0.02)
    explorer.observe(first, fresh=np.ones(5000, bool))
    assert np.mean(explorer(None) == first) == pytest.approx(0.25, abs=0.03)
    allowed = np.ones((5000, 4), bool)
    allowed[:, 2] = False
    explorer.observe(np.full(5000, 2), fresh=np.zeros(5000, bool))
    assert set(explorer(allowed)) == {0, 1, 3}


@pytest.mark.parametrize("view", [DeadReckoning, FullyObsWrapper])
def test_minigrid_cells_are_the_place_what_is_carried_and_the_doors(view):
    """In a world of one layout, two moments are one cell just if these are equal; in a partial view doors in sight."""
    environment = view(gym.make("MiniGrid-KeyCorridorS3R3-v0"))
    environment.reset(seed=3)
    cells, rng, met = MiniGridCells(environment.observation_space), np.random.default_rng(0), {}
    for _ in range(1500):
        observation, _, terminated, truncated, _ = environment.step(int(rng.choice([0, 1, 2, 2, 3, 4, 5])))
        world = environment.unwrapped
        shown = observation["image"]
        doors = shown[..., 2] * (shown[..., 0] == 4) if view is DeadReckoning else world.grid.encode()[..., 2]
        carried = None if world.carrying is None else (world.carrying.type, world.carrying.color)
        truth = (*map(int, world.agent_pos), int(world.agent_dir), carried, doors.tobytes())
        if view is FullyObsWrapper:
            states = [
                (cell.is_open, cell.is_locked) for cell in world.grid.grid if cell is not None and cell.type == "door"
            ]
            truth = (*truth[:4], tuple(states))
        batch = {name: np.asarray(part)[None] for name, part in observation.items() if name != "mission"}
        found = cells(batch)
        assert found.shape == (1, 5) and found.dtype == np.float32
        assert met.setdefault(truth, found.tobytes()) == found.tobytes()
        if terminated or truncated:
            environment.reset(seed=3)
    assert len(set(met.values())) == len(met) > 50


def test_pictures_are_scaled_down_as_published():
    space = spaces.Box(0, 255, (80, 110, 3), np.uint8)
    cells, picture = PictureCells(space), np.random.default_rng(0).integers(0, 256, (2, 80, 110, 3), np.uint8)
    by_hand = picture.astype(np.float64).mean(3).reshape(2, 8, 10, 11, 10).mean((2, 4)) / 255 * 8
    assert cells.dim == 88 and (cells(picture) == np.floor(by_hand).reshape(2, 88)).all()
    assert (cells(np.full_like(picture, 255)) == 7).all()
    with pytest.raises(ValueError, match=r"need a picture.*Leave agent.cells out"):
        PictureCells(spaces.Box(0, 1, (4,)))


def test_cells_fit_the_space():
    grid = DeadReckoning(gym.make("MiniGrid-Empty-5x5-v0")).observation_space
    without = {name: part for name, part in grid.spaces.items() if name != "mission"}
    assert isinstance(make_cells(spaces.Dict(without)), MiniGridCells)
    assert isinstance(make_cells(spaces.Box(0, 255, (84, 84, 1), np.uint8)), PictureCells)
    for theirs in ({"image": spaces.Box(0, 255, (40, 40, 3), np.uint8)}, {"place": spaces.Discrete(4)}):
        assert isinstance(make_cells(spaces.Dict({**without, **theirs})), RoundedCells)
    with pytest.raises(TypeError, match=r"agent\.cells is 3; it must make cells"):
        make_cells(spaces.Discrete(2), 3)
    numbers = make_cells(spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)}))
    assert isinstance(numbers, RoundedCells)
    cell = numbers({"a": np.array([[0.1, -0.4]], np.float32), "b": np.array([2])})
    assert cell.tolist() == [[0, -2, 0, 0, 4]]
