"""ContextGoal is what its docstring says: cues stand for contexts, whose sites move as a slow reference says."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)


def made(num_envs=1, **options):
    return gymnasium.make_vec(
        "engram/ContextGoal-v0", num_envs, vectorization_mode="vector_entry_point", **options
    ).unwrapped


def episodes(count, num_envs=20, **options):
    """Contexts `[K, E]`, sites of all contexts `[K, E, contexts]`, goals `[K, E]`, and first episodes since a move."""
    vector, seen = made(num_envs, **options), []
    for episode in range(count):
        _, info = vector.reset(seed=0 if episode == 0 else None)
        core = vector.core
        seen.append((core.context.copy(), core.sites.copy(), core.goal.copy(), info["shifted"]))
    return tuple(np.array(part) for part in zip(*seen, strict=True))


def test_sites_move_as_a_slow_reference_says():
    contexts, sites, goals, shifted = episodes(300, num_envs=4, n=6, contexts=3)
    for run in range(4):
        held = sites[0, run].copy()
        used, last_move = set(held.tolist()), 0
        assert len(used) == 3
        for episode in range(300):
            now = contexts[episode, run]
            if shifted[episode, run]:
                assert 5 <= episode - last_move <= 15
                last_move = episode
                moved = sites[episode, run, now]
                if len(used) < 36:
                    assert moved not in used
                used.add(int(moved))
                held[now] = moved
            assert sites[episode, run].tolist() == held.tolist()  # all others stay
            assert goals[episode, run] == held[now]


def test_contexts_are_drawn_uniformly_and_independently():
    contexts, *_ = episodes(400, num_envs=20)
    counts = np.zeros((4, 4))
    np.add.at(counts, (contexts[:-1].ravel(), contexts[1:].ravel()), 1)
    assert ((counts - counts.sum() / 16) ** 2 / (counts.sum() / 16)).sum() < 37.7  # 15 degrees, p = 0.001


def test_a_cue_stands_for_its_context_throughout_a_run_and_differs_between_contexts_and_runs():
    vector = made(5, contexts=4, cue_size=3, step_limit=5)
    cue_of = [{} for _ in range(5)]
    observation, _ = vector.reset(seed=3)
    for _ in range(600):
        for run in range(5):
            cue = tuple(observation["cue"][run].tolist())
            assert set(cue) <= {0, 1}
            assert cue_of[run].setdefault(int(vector.core.context[run]), cue) == cue
        observation, *_ = vector.step(vector.action_space.sample())
    assert all(len(set(cues.values())) == len(cues) == 4 for cues in cue_of)
    assert len({tuple(sorted(cues.items())) for cues in cue_of}) > 1


def test_all_cues_and_nearly_all_cells_can_be_taken():
    core = made(3, n=3, contexts=8, cue_size=3).core
    core.start_runs(np.arange(3), np.arange(3, dtype=np.uint64))
    assert all(len({tuple(cue) for cue in cues.tolist()}) == 8 for cues in core.cues)
    assert all(len(set(sites.tolist())) == 8 for sites in core.sites)


def test_only_the_site_of_the_present_context_pays():
    vector = made(50, n=4)
    vector.reset(seed=0)
    for _ in range(300):
        before = vector.core.goal.copy()
        *_, reward, terminated, truncated, _ = vector.step(vector.action_space.sample())
        on_goal = reward > 0
        assert np.array_equal(on_goal, terminated)
        assert (vector.core.cell[~(terminated | truncated)] != before[~(terminated | truncated)]).all()


def test_the_shortest_path_is_told_and_starts_are_not_on_the_goal():
    vector = made(500)
    observation, info = vector.reset(seed=0)
    goal = vector.core.geometry.coordinates[vector.core.goal]
    assert np.array_equal(np.abs(observation["place"] - goal).sum(axis=1), info["oracle_steps"])
    assert info["oracle_steps"].min() >= 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"contexts": 0}, "contexts must be from 1 to 35"),
        ({"contexts": 9, "cue_size": 3}, "from 1 to 8, as there are 36 cells and 8 cues of cue_size=3"),
        ({"contexts": 4, "n": 2}, "contexts must be from 1 to 3"),
        ({"cue_size": 13}, "cue_size must be from 1 to 12, got 13"),
        ({"period": 5}, "jitter must be from 0 to period - 1 = 4, got 5"),
    ],
)
def test_bad_options_are_refused_with_their_limits(options, says):
    with pytest.raises(ValueError, match=says):
        gymnasium.make("engram/ContextGoal-v0", **options)
