"""MiniGrid's goals, keys and doors shift, on layouts that stay the same and can always be solved."""

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from minigrid.core.actions import Actions

from engram_rl.envs import Periodic, ShiftingTarget
from engram_rl.envs.minigrid_targets import MiniGridTarget, find, minigrid_shift, reachable, shortest_solution

CASES = [
    ("MiniGrid-Empty-8x8-v0", "goal"),
    ("MiniGrid-FourRooms-v0", "goal"),
    ("MiniGrid-DoorKey-8x8-v0", "goal"),
    ("MiniGrid-DoorKey-8x8-v0", "key"),
    ("MiniGrid-DoorKey-8x8-v0", "door"),
]
cases = pytest.mark.parametrize(("base", "what"), CASES)
IDS = ["engram/EmptyShift-v0", "engram/FourRoomsShift-v0", "engram/DoorKeyShift-v0"]
MOVES = (Actions.left, Actions.right, Actions.forward, Actions.pickup, Actions.toggle)


def layout(env) -> list:
    """What lies where, save the target."""
    return [None if cell is None else (cell.type, cell.color) for cell in env.grid.grid]


def played_out(env) -> int:
    """The fewest actions to the goal, by trying all action sequences in the environment itself, breadth first."""

    def key(state):
        door = [cell.is_open for cell in state.grid.grid if cell is not None and cell.type == "door"]
        return (*map(int, state.agent_pos), int(state.agent_dir), state.carrying is not None, *door)

    frontier, seen, depth = [copy.deepcopy(env)], {key(env)}, 0
    while frontier:
        depth += 1
        following = []
        for state in frontier:
            for action in MOVES:
                after = copy.deepcopy(state)
                _, reward, terminated, *_ = after.step(action)
                if terminated and reward > 0:
                    return depth
                if key(after) not in seen:
                    seen.add(key(after))
                    following.append(after)
        frontier = following
    raise AssertionError("no solution")


@cases
def test_the_target_is_where_it_was_put_and_the_rest_stays(base, what):
    env = gymnasium.make(base).unwrapped
    target = MiniGridTarget(what, layout_seed=3)
    places = target.draw_sites(env, 3)
    seen = []
    for place in places:
        target(env, place)
        for seed in (None, 5, None):
            env.reset(seed=seed)
            assert find(env, what) == place
            seen.append(layout(env))
    for one in seen:
        differences = sum(a != b for a, b in zip(one, seen[0], strict=True))
        assert differences in (0, 2)


@cases
def test_every_site_can_be_solved(base, what):
    env = gymnasium.make(base).unwrapped
    target = MiniGridTarget(what, layout_seed=1)
    for place in target.sites(env)[::7]:
        target(env, place)
        env.reset()
        assert shortest_solution(env) >= 1


@pytest.mark.parametrize(("base", "what"), [("MiniGrid-Empty-5x5-v0", "goal"), ("MiniGrid-DoorKey-5x5-v0", "key")])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_shortest_solution_is_what_trying_everything_finds(base, what, seed):
    env = gymnasium.make(base).unwrapped
    target = MiniGridTarget(what, layout_seed=seed)
    target(env, target.sites(env)[0])
    env.reset(seed=seed)
    assert shortest_solution(env) == played_out(env)


def test_starts_vary_but_stay_on_the_agents_side_of_the_door():
    env = gymnasium.make("MiniGrid-DoorKey-8x8-v0").unwrapped
    target = MiniGridTarget("goal", layout_seed=2)
    target(env, None)
    starts = set()
    for _ in range(60):
        env.reset()
        place = tuple(map(int, env.agent_pos))
        starts.add((*place, int(env.agent_dir)))
        assert place in reachable(env, place)
        assert place[0] < find(env, "door")[0]
        assert env.grid.get(*place) is None
    assert len(starts) > 20


def test_a_place_that_cannot_be_is_refused():
    env = gymnasium.make("MiniGrid-DoorKey-8x8-v0").unwrapped
    target = MiniGridTarget("key")
    target(env, (0, 0))
    with pytest.raises(ValueError, match=r"key cannot be at \(0, 0\)"):
        env.reset()
    with pytest.raises(ValueError, match="not 99"):
        target.draw_sites(env, 99)
    with pytest.raises(ValueError, match='"goal", "key" or "door", got \'lava\''):
        MiniGridTarget("lava")
    with pytest.raises(ValueError, match="0 objects of type 'key'"):
        MiniGridTarget("key").sites(gymnasium.make("MiniGrid-Empty-8x8-v0").unwrapped)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped:UserWarning")
@pytest.mark.parametrize("name", IDS)
def test_gymnasium_accepts_the_registered_ones(name):
    environment = gymnasium.make(name, render_mode="rgb_array")
    check_env(environment, skip_render_check=True)
    environment.reset(seed=0)
    assert environment.render().dtype == np.uint8


@pytest.mark.parametrize("name", IDS)
def test_the_registered_ones_shift_among_their_sites_and_tell_the_limit(name):
    environment = gymnasium.make(name, sites=3, schedule="periodic", schedule_options={"period": 2})
    infos = [environment.reset(seed=0 if i == 0 else None)[1] for i in range(12)]
    targets = [info["target"] for info in infos]
    assert targets[:6] == targets[6:]
    assert len(set(targets)) == 3
    assert [info["shifted"] for info in infos] == [i > 0 and i % 2 == 0 for i in range(12)]
    assert all(info["oracle_steps"] >= 1 for info in infos)


@pytest.mark.parametrize("name", IDS)
def test_the_same_seed_gives_the_same_run(name):
    def run():
        environment = gymnasium.make(name, schedule_options={"period": 2, "jitter": 1})
        environment.action_space.seed(0)
        said = []
        for episode in range(5):
            observation, info = environment.reset(seed=1 if episode == 0 else None)
            said.append((observation["image"].tolist(), info["target"], info["oracle_steps"]))
            for _ in range(10):
                observation, reward, *_ = environment.step(environment.action_space.sample())
                said.append((observation["image"].tolist(), reward))
        return said

    assert run() == run()


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="abrupt, periodic, recurring, on_success, got 'often'"):
        gymnasium.make("engram/EmptyShift-v0", schedule="often")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"base": "MiniGrid-Unlock-v0", "what": "key"}, ValueError, r"goal .* cannot be reached with its key at \("),
        ({"base": "MiniGrid-Unlock-v0", "what": "door"}, ValueError, "such as MiniGrid-DoorKey-8x8-v0"),
        ({"base": "MiniGrid-LockedRoom-v0"}, ValueError, "cannot be reached .* without an oracle"),
        ({"base": "MiniGrid-Fetch-5x5-N2-v0"}, ValueError, "0 objects of type 'goal'.* it has key: give a world with"),
        ({"base": "MiniGrid-RedBlueDoors-6x6-v0", "what": "door"}, ValueError, "2 objects of type 'door'"),
        ({"base": "MiniGrid-MemoryS7-v0"}, ValueError, "it has key: give a world with exactly one goal"),
        ({"base": "CartPole-v1"}, TypeError, "CartPole-v1 is no MiniGrid world"),
    ],
)
def test_a_world_that_cannot_shift_is_refused_when_it_is_made(options, error, message):
    with pytest.raises(error, match=message):
        minigrid_shift(**options)


def test_the_remedy_works_for_a_world_without_a_goal():
    env = gymnasium.make("MiniGrid-Unlock-v0")
    key = MiniGridTarget("key")
    shifting = ShiftingTarget(env, Periodic(key.draw_sites(env.unwrapped, 2), period=1), key)
    assert [shifting.reset(seed=0 if i == 0 else None)[1]["task_index"] for i in range(3)] == [0, 1, 2]
