"""MaskedKey shows every thing once an episode, withholds what it says, and can be solved by either modality."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)


def run_of(episodes: int, act, **options) -> list[tuple[float, list[dict]]]:
    """The return and the observations of each episode."""
    environment = gymnasium.make("engram/MaskedKey-v0", **options)
    played = []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=3 if episode == 0 else None)
        score, seen, over = 0.0, [], False
        while not over:
            seen.append(observation)
            observation, reward, over, _, _ = environment.step(act(environment, observation))
            score += reward
        played.append((score, seen))
    return played


def answer(environment, _) -> int:
    core = environment.unwrapped.core
    return int(core.answers[0, core.thing()[0]])


@pytest.mark.parametrize("withheld", ["place", "colour", "either"])
def test_only_test_episodes_withhold_and_only_what_they_say(withheld):
    played = run_of(10, answer, withheld=withheld, train_episodes=4, test_episodes=6)
    missing = [
        [name for name in ("place", "colour") if not observation[name].any()]
        for _, seen in played
        for observation in seen
    ]
    assert missing[: 4 * 16] == [[]] * (4 * 16)
    expected = {"place": {("place",)}, "colour": {("colour",)}, "either": {("place",), ("colour",)}}[withheld]
    assert {tuple(each) for each in missing[4 * 16 :]} == expected


def test_each_thing_is_shown_once_an_episode_in_changing_order():
    played = run_of(3, answer)
    orders = [[tuple(observation["place"]) for observation in seen] for _, seen in played]
    assert all(len(set(order)) == 16 for order in orders)
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize("modality", ["place", "colour"])
def test_either_modality_tells_the_things_apart_throughout_the_run(modality):
    withheld = {"place": "colour", "colour": "place"}[modality]
    played = run_of(6, answer, withheld=withheld, train_episodes=2, test_episodes=4)
    things = {tuple(observation[modality]) for _, seen in played for observation in seen}
    assert len(things) == 16


def test_the_limit_is_every_answer_right_and_chance_a_quarter():
    assert [score for score, _ in run_of(5, answer)] == [16.0] * 5
    guesses = np.random.default_rng(0)
    scores = [score for score, _ in run_of(100, lambda *_: guesses.integers(4))]
    assert np.mean(scores) == pytest.approx(4.0, abs=0.6)


def test_the_noise_is_new_in_every_step():
    noise = [tuple(observation["noise"]) for _, seen in run_of(5, answer) for observation in seen]
    assert len(set(noise)) == len(noise)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n": 3}, "even and at least 2.* got 3"),
        ({"withheld": "noise"}, "one of place, colour, either; got 'noise'"),
        ({"train_episodes": 0}, "both kinds of episodes, got 0 and 20"),
    ],
)
def test_bad_options_are_refused_with_their_limits(options, says):
    with pytest.raises(ValueError, match=says):
        gymnasium.make("engram/MaskedKey-v0", **options)
