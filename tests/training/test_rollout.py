"""A step is told as it was: what followed, what was allowed, who was asked, which episodes ended."""

from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from engram_rl.agents.agent import Transition
from engram_rl.training.cadence import Every
from engram_rl.training.callbacks import Moment, end_asked, require_callable
from engram_rl.training.errors import UsageError, say_once
from engram_rl.training.intake.infos import MASK, STEPPED
from engram_rl.training.rollout import (
    Episodes,
    act,
    allowed,
    environment_metrics,
    finished,
    inspected,
    lost_metrics,
    require_turns,
    step,
)


def objects(*rows):
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


class Scripted:
    """Three environments of which it is written what a step gives; they keep what was done."""

    num_envs, single_action_space = 3, spaces.Discrete(2)

    def __init__(self, info=None, terminated=(0, 0, 0), truncated=(0, 0, 0)):
        self.info, self.ends = info or {}, (np.array(terminated, bool), np.array(truncated, bool))
        self.unwrapped = self

    def step(self, action):
        self.taken = action
        return np.array([[1], [2], [3]]), [1, 2, 3], *self.ends, self.info


def test_a_step_in_which_nothing_ends_is_what_the_environments_gave():
    environments, shown, action = Scripted({"said": 1}), np.zeros((3, 1)), [0, 1, 0]
    made = step(environments, shown, action)
    assert made.observation is shown and made.action.tolist() == action and environments.taken is action
    assert made.reward.tolist() == [1, 2, 3] and made.reward.dtype == np.float64
    assert made.next_observation is made.reset_observation and made.reset_observation.tolist() == [[1], [2], [3]]
    assert made.info == {"said": 1} and made.rows is made.mask is made.next_mask is made.reset_mask is None


@pytest.mark.parametrize("final", [objects(None, np.array([8]), np.array([9])), np.array([[7], [8], [9]])])
def test_where_episodes_end_in_either_way_their_last_observation_followed(final):
    made = step(Scripted({"final_obs": final}, [0, 1, 0], [0, 0, 1]), np.zeros((3, 1)), np.zeros(3, int))
    assert made.next_observation.tolist() == [[1], [8], [9]] and made.reset_observation.tolist() == [[1], [2], [3]]
    assert made.done.tolist() == [False, True, True]


class Reusing(VectorEnv):
    """Two environments of somebody else, whose episodes have two steps, and whose observations are one array."""

    num_envs, metadata = 2, {"autoreset_mode": AutoresetMode.SAME_STEP}
    single_observation_space, single_action_space = spaces.Box(0, 9, (1,), np.float32), spaces.Discrete(2)

    def __init__(self, form):
        self.form, self.shown = form, np.zeros((2, 1), np.float32)

    def reset(self, *, seed=None, options=None):
        self.shown[:] = 0
        return self.shown, {}

    def step(self, actions):
        self.shown += 1
        done, info = self.shown[:, 0] == 2, {"episode": "its own"}
        if done.any():
            info["final_obs"] = self.form(self.shown.copy())
            self.shown[done] = 0
        return self.shown, self.form(np.ones(2)), self.form(done), self.form(done & False), info


@pytest.mark.parametrize(
    "form", [np.array, list, torch.tensor, lambda rows: rows.astype(float), lambda rows: rows.reshape(2, 1)]
)
def test_what_environments_of_others_give_is_taken_in_and_copied(form):
    environments, told = Reusing(form), []
    shown, _ = environments.reset()
    for _ in range(3):
        told.append(step(environments, shown, np.zeros(2, int)))
        shown = told[-1].reset_observation
    assert [one.observation[0, 0] for one in told] == [0, 1, 0]
    assert [one.next_observation[0, 0] for one in told] == [1, 2, 1]
    assert [one.reset_observation[0, 0] for one in told] == [1, 0, 1]
    assert [one.done.tolist() for one in told] == [[False] * 2, [True] * 2, [False] * 2]
    assert all(one.reward.tolist() == [1, 1] and one.info["episode"] == "its own" for one in told)


def test_a_last_observation_that_environments_of_others_do_not_give_is_asked_for():
    environments = Reusing(lambda rows: None if rows.dtype == np.float32 else rows)
    shown = step(environments, environments.reset()[0], np.zeros(2, int)).reset_observation
    with pytest.raises(UsageError, match=r"the vector environment .* no info\['final_obs'\]"):
        step(environments, shown, np.zeros(2, int))


def test_the_parts_of_a_tuple_of_others_have_numbers():
    class Pairs(gym.Env):
        observation_space, action_space = spaces.Tuple([spaces.Discrete(5), spaces.Box(0, 9, (1,))]), spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return (3, np.zeros(1, np.float32)), {}

        def step(self, action):
            return (4, np.ones(1, np.float32)), 1.0, True, False, {}

    environments = SyncVectorEnv([Pairs] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    made = step(environments, environments.reset()[0], np.zeros(2, int))
    assert made.observation["0"].tolist() == made.reset_observation["0"].tolist() == [3, 3]
    assert made.next_observation["0"].tolist() == [4, 4] and made.next_observation["1"].tolist() == [[1], [1]]


def test_last_observations_may_come_as_one_dict_of_batches():
    class Parts(Scripted):
        def step(self, action):
            shown, *rest = super().step(action)
            return {"a": shown, "b": {"c": shown + 10}}, *rest

    last = {"a": np.array([[7], [8], [9]]), "b": {"c": np.array([[4], [5], [6]])}}
    made = step(Parts({"final_obs": last}, [0, 1, 0]), {}, np.zeros(3, int))
    assert made.next_observation["a"].tolist() == [[1], [8], [3]]
    assert made.next_observation["b"]["c"].tolist() == [[11], [5], [13]]


ALL, LEFT, RIGHT = [True, True], [True, False], [False, True]


@pytest.mark.parametrize(
    ("terminated", "final_info", "next_mask"),
    [
        ([0, 0, 0], None, [LEFT, RIGHT, ALL]),
        ([0, 1, 0], None, [LEFT, ALL, ALL]),  # where nothing is said of the end, all is allowed
        ([0, 1, 0], {MASK: objects(None, LEFT, None), f"_{MASK}": np.array([0, 1, 0], bool)}, [LEFT, LEFT, ALL]),
        ([1, 1, 0], {MASK: objects(None, LEFT, None), f"_{MASK}": np.array([0, 1, 0], bool)}, [ALL, LEFT, ALL]),
        ([0, 1, 0], {MASK: objects(None, [0, 0], None), f"_{MASK}": np.array([0, 1, 0], bool)}, [LEFT, ALL, ALL]),
    ],
)
def test_masks_are_of_what_truly_followed_and_of_what_is_shown_now(terminated, final_info, next_mask):
    info = {MASK: np.array([LEFT, RIGHT, ALL]), "final_obs": np.zeros((3, 1)), "final_info": final_info}
    before = np.array([ALL, ALL, LEFT])
    made = step(Scripted(info, terminated), np.zeros((3, 1)), np.zeros(3, int), before)
    assert made.mask is before and made.reset_mask.tolist() == [LEFT, RIGHT, ALL]
    assert made.next_mask.tolist() == next_mask
    assert allowed(Scripted(), {}) is None and allowed(Scripted(), info).tolist() == [LEFT, RIGHT, ALL]


class Turns(Scripted):
    """The first and the last wait for an action; the first two answer."""

    waiting = np.array([0, 2])

    def step(self, action):
        given = super().step(action)
        self.given, self.taken = action, np.array([1, 0, 1])
        return given


def test_who_waits_is_given_an_action_and_who_answered_is_told():
    stepped = np.array([True, True, False])
    environments = Turns({STEPPED: stepped, MASK: np.array([LEFT, RIGHT, RIGHT])})
    made = step(environments, np.zeros((3, 1)), np.array([1, 1]), np.array([ALL, ALL, LEFT]))
    assert environments.given.shape == (3,) and environments.given[[0, 2]].tolist() == [1, 1]
    assert made.action.tolist() == [1, 0, 1] and made.rows.tolist() == [0, 1]
    assert made.reset_mask.tolist() == [LEFT, RIGHT, LEFT]  # of who has not answered it is still the one before
    for mask in (None, np.array([ALL, ALL, LEFT])):  # masks may begin or end; then there is nothing to keep
        made = step(Turns({STEPPED: stepped}), np.zeros((3, 1)), np.array([1, 1]), mask)
        assert made.reset_mask is None
    info = {STEPPED: stepped, MASK: np.array([LEFT, RIGHT, RIGHT])}
    assert step(Turns(info), np.zeros((3, 1)), np.array([1, 1])).reset_mask.tolist() == [LEFT, RIGHT, RIGHT]
    parts = Turns({STEPPED: stepped})
    step(parts, np.zeros((3, 1)), np.array([[1, 5], [2, 6]]))
    assert parts.given.shape == (3, 2) and parts.given[[0, 2]].tolist() == [[1, 5], [2, 6]]


class Keeps:
    """Answers with what it was asked."""

    def act(self, observation, *, explore=True, mask=None, rows=None):
        return observation, explore, mask, rows


class Anything:
    def act(self, observation, **given):
        return observation, given


class Plain:
    def act(self, observation, *, explore=True):
        return observation, explore


def test_an_agent_is_asked_for_whom_it_is_and_what_is_allowed():
    shown, mask = {"a": np.arange(3), "b": {"c": np.arange(3) * 2}}, np.array([ALL, LEFT, RIGHT])
    observation, explore, given, rows = act(Keeps(), shown, mask)
    assert observation is shown and explore is True and given is mask and rows is None
    observation, explore, given, rows = act(Keeps(), shown, mask, explore=False, rows=np.array([0, 2]))
    assert observation["a"].tolist() == [0, 2] and observation["b"]["c"].tolist() == [0, 4]
    assert explore is False and given.tolist() == [ALL, RIGHT] and rows.tolist() == [0, 2]
    assert act(Keeps(), shown, None, rows=np.array([1]))[2] is None
    assert act(Anything(), shown, mask)[1] == {"explore": True, "mask": mask}
    assert act(Anything(), shown, None)[1] == {"explore": True}


def test_an_agent_that_takes_no_mask_is_given_none_and_that_is_told_once(capsys):
    say_once.cache_clear()
    for _ in range(2):
        assert act(Plain(), 5, np.array([ALL])) == (5, True)
    assert capsys.readouterr().err.count("(action_mask), but Plain.act takes no mask") == 1
    act(Plain(), 5, None)
    act(Keeps(), np.zeros(1), np.array([ALL]))
    assert capsys.readouterr().err == ""


def test_only_agents_that_act_for_some_take_turns():
    for agent in (Keeps(), Anything()):
        require_turns(agent, SimpleNamespace(waiting=np.array([0])))
    require_turns(Plain(), SimpleNamespace(waiting=None))
    with pytest.raises(UsageError, match="Plain acts for all of its environments at once"):
        require_turns(Plain(), SimpleNamespace(waiting=np.array([0])))


@pytest.mark.parametrize(
    ("returns", "above", "rate"),
    [([1, 2, 3, 4], 2, 0.5), ([1, 2, 3, 4], 4, 0), ([1, 2], 0.0, 1), ([1, 2], None, None), ([], 1, None)],
)
def test_a_success_is_a_return_above_the_limit(returns, above, rate):
    assert Episodes(np.array(returns), np.array(returns)).success_rate(above) == rate


def test_episodes_are_what_was_played():
    played = Episodes(np.ones(2), np.ones(2))
    assert played.cut == 0
    with pytest.raises(FrozenInstanceError):
        played.cut = 1  # type: ignore[misc]


def test_the_episodes_of_a_step_are_the_marked_ones():
    assert len(finished({}).returns) == len(finished({}).lengths) == 0
    info = {"episode": {"r": np.array([4.0, 0, 5]), "l": np.array([2, 0, 1])}, "_episode": np.array([1, 0, 1], bool)}
    assert finished(info).returns.tolist() == [4, 5] and finished(info).lengths.tolist() == [2, 1]


def test_metrics_say_nothing_where_there_is_nothing_to_say():
    assert environment_metrics({}) == environment_metrics({"task_index": objects("a", None)}) == {}
    assert environment_metrics({"task_index": np.array([1, 2])}) == {"env/task_index": 1.5}
    assert inspected(SimpleNamespace(inspect=lambda: {"a": 1.0})) == {"a": 1.0} and inspected(Plain()) == {}
    lost = lambda **given: lost_metrics(SimpleNamespace(unwrapped=SimpleNamespace(**given)))  # noqa: E731
    assert lost(lost=3) == {"cluster/lost_episodes": 3} and lost(lost=0) == lost() == {}


@pytest.mark.parametrize(
    ("answers", "ends"),
    [
        ([], False),
        ([None, 1, "yes"], False),
        ([True], True),
        ([np.False_, np.True_], True),
        ([False, True, None], True),
    ],
)
def test_every_callback_is_told_and_only_true_ends_a_run(answers, ends, tmp_path):
    told = []
    moment = Moment(8, Plain(), Transition(*[np.zeros(1, bool)] * 7), {}, tmp_path)
    callbacks = [lambda given, answer=answer: (told.append(given), answer)[1] for answer in answers]
    assert end_asked(callbacks, moment) is ends
    assert told == [moment] * len(answers)
    with pytest.raises(FrozenInstanceError):
        moment.step = 9  # type: ignore[misc]


@pytest.mark.parametrize("interval", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("begun", [None, 0, 6, 11])
def test_a_cadence_is_due_where_a_multiple_of_its_interval_was_passed(interval, stride, begun):
    due = Every(interval) if begun is None else Every(interval, begun)
    before = begun or 0
    for step_now in range(before + stride, before + 40, stride):
        passed = any(interval and one % interval == 0 for one in range(step_now - stride + 1, step_now + 1))
        assert due(step_now) is passed
        assert due(step_now) is False


class Teller:
    def __call__(self, moment):
        return None

    def told(self, moment, loud=False):
        return None


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([3], r"callbacks\[0\] is 3 \(int\), which cannot be called"),
        ([print, None], r"callbacks\[1\] is None"),
        ("told", r"callbacks is 'told' \(str\); give a list"),
        (print, "give a list of functions"),
        ({print}, "give a list of functions"),
        ([Teller], r"callbacks\[0\] is the class Teller; give an object of it"),
        ([lambda: None], r"callbacks\[0\] is .* does not take one argument alone"),
        ([lambda moment, more: None], "does not take one argument alone"),
        ([Teller().told, Teller.told], r"callbacks\[1\] .* does not take one argument alone"),
    ],
)
def test_callbacks_that_cannot_be_called_are_refused_by_place(callbacks, message):
    with pytest.raises(UsageError, match=message):
        require_callable(callbacks)


def test_callbacks_are_whatever_takes_a_moment():
    require_callable([print, Teller(), Teller().told, lambda *_: True, lambda moment, more=1: None, max, [].append])
    require_callable(())
