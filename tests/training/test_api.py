"""From Python it is what the command line does, and an agent in one's own loop is the agent of the vectorised one."""

import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from engram_rl import evaluate, load_agent, make_agent, make_env, train
from engram_rl.training import train as command_line
from engram_rl.training.composing import composed, environment_words, value_words
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import step
from engram_rl.training.runs.checkpoint import flatten

QUICK = {
    "progress": False, "log": {"every": 100, "video": False, "memory": False},
    "evaluation": {"episodes": 2, "every": 0},
}  # fmt: skip


def test_training_is_what_the_command_line_does(command, tmp_path):
    run = train("mfec", "cartpole", "agent.memory.capacity=300", folder=tmp_path / "python", steps=400, seed=3, **QUICK)
    words = ("agent=mfec", "env=cartpole", "agent.memory.capacity=300", "steps=400", "seed=3", *value_words(QUICK))
    status, printed = command(command_line.main, *words, "hydra.run.dir=shell")
    assert status == 0, printed
    for name in ("episodes.jsonl", "config.yaml"):
        assert (run.path / name).read_bytes() == (tmp_path / "shell" / name).read_bytes()
    assert run.score == run.summary["score"]
    assert run.metrics()[0]["memory/size"] > 0
    assert not GlobalHydra.instance().is_initialized()
    assert repr(run).startswith("Run(")


def test_it_is_resumed_and_evaluated_as_there(command, tmp_path):
    run = train("mfec", "cartpole", folder=tmp_path / "python", steps="2e2", **QUICK)
    resumed = train(resume=run, steps=400, progress=False)
    assert resumed.path == run.path and run.summary["steps"] == 400
    whole = train("mfec", "cartpole", folder=tmp_path / "whole", steps=400, **QUICK)
    assert (whole.path / "episodes.jsonl").read_bytes() == (run.path / "episodes.jsonl").read_bytes()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    found = evaluate(run, episodes=3, memory="frozen")
    assert found.mode == "frozen" and len(found.results["trained"].returns) == 3
    assert found.mean == found.intervals["trained"].point and "random" in str(found)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_where_the_module_of_an_environment_has_moved_every_way_to_a_run_says_so(monkeypatch, tmp_path):
    module, made = tmp_path / "own" / "moved_17.py", "'gymnasium.envs.classic_control:CartPoleEnv'"
    module.parent.mkdir()
    module.write_text(f"import gymnasium as gym\ngym.register('Moved-v0', {made}, max_episode_steps=9)\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    run = train("mfec", "moved_17:Moved-v0", folder=tmp_path / "run", config_dir=module.parent, steps=64, **QUICK)
    module.unlink()
    sys.modules.pop("moved_17")
    gym.registry.pop("Moved-v0")
    for way in (make_env, load_agent, evaluate):
        with pytest.raises(UsageError, match=r"There is no module 'moved_17'.*--config-dir FOLDER"):
            way(run, config_dir=module.parent)


def test_a_run_folder_is_never_shared(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "now")
    one, other = (train("mfec", "CartPole-v1", steps=40, name="a b/c", **QUICK) for _ in range(2))
    assert one.path != other.path
    assert one.path.name == "now_a-b-c_mfec_gym-CartPole-v1_seed1"


def test_callbacks_see_every_step_and_may_end_the_run(tmp_path):
    moments = []

    def until(moment):
        moments.append(moment)
        return moment.step >= 240

    asked = [until, lambda moment: None]
    run = train("mfec", "cartpole", folder=tmp_path / "a", steps=10_000, callbacks=asked, **QUICK)
    assert [moment.step for moment in moments] == list(range(8, 241, 8))
    assert run.summary["steps"] == 240 and run.score > 0
    assert moments[0].transition.reward.shape == (8,) and moments[0].folder == run.path


OWN_LOOPS = [
    ("mfec", "CartPole-v1", 300), ("nec", "CartPole-v1", 150), ("ppo", "CartPole-v1", 300),
    ("ppo_gru", "CartPole-v1", 300), ("retrieval_ppo", "engram/NewGoal-v0", 300),
    ("fast_slow", "engram/ShiftWall-v0", 150),
]  # fmt: skip


@pytest.mark.parametrize(("name", "id", "steps"), OWN_LOOPS, ids=[name for name, *_ in OWN_LOOPS])
def test_alone_an_agent_does_what_it_does_in_a_vector_of_one(name, id, steps):
    environment = gym.make(id)
    agent = make_agent(name, environment, seed=5)
    observation, info = environment.reset(seed=5)
    alone = []
    for _ in range(steps):
        action = agent.act(observation, info)
        observation, reward, terminated, truncated, info = environment.step(action)
        agent.observe(observation, reward, terminated, truncated, info)
        alone.append(action)
        if terminated or truncated:
            observation, info = environment.reset()

    vector = SyncVectorEnv([lambda: gym.make(id)], autoreset_mode=AutoresetMode.SAME_STEP)
    batched = make_agent(name, vector, seed=5)
    observation, _ = vector.reset(seed=5)
    side = []
    for _ in range(steps):
        transition = step(vector, observation, batched.act(observation))
        batched.observe(transition)
        batched.learn()
        side.append(int(transition.action[0]))
        observation = transition.reset_observation
    assert alone == side
    assert len(set(alone)) > 1


@pytest.mark.parametrize(("name", "env"), [("mfec", "cartpole"), ("ppo_gru", "cartpole"), ("fast_slow", "shiftwall")])
def test_a_loaded_agent_acts_and_is_left_as_it_is(name, env, tmp_path):
    run = train(name, env, folder=tmp_path / "a", steps=200, **QUICK)
    agent, environment = load_agent(run), make_env(run)
    before, after = {}, {}
    flatten(agent.agent.state_dict(), "", before)
    observation, info = environment.reset(seed=1)
    actions = []
    for _ in range(60):
        actions.append(agent.act(observation, info))
        observation, reward, terminated, truncated, info = environment.step(actions[-1])
        agent.observe(observation, reward, terminated, truncated, info)
        if terminated or truncated:
            observation, info = environment.reset()
    flatten(agent.agent.state_dict(), "", after)
    assert before.keys() == after.keys()
    assert all(np.array_equal(np.asarray(before[name]), np.asarray(after[name])) for name in before)
    again, environment = load_agent(run.path), make_env(run)
    observation, info = environment.reset(seed=1)
    assert again.act(observation, info) == actions[0]


def test_masks_parts_and_codes_of_ones_own_environment_are_understood():
    taxi = gym.make("Taxi-v4")  # Discrete observations, action masks
    agent = make_agent("mfec", taxi)
    observation, info = taxi.reset(seed=1)
    for _ in range(100):
        action = agent.act(observation, info)
        assert info["action_mask"][action]
        observation, reward, terminated, truncated, info = taxi.step(action)
        agent.observe(observation, reward, terminated, truncated, info)


def test_misuse_is_said(tmp_path):
    environment = gym.make("CartPole-v1")
    with pytest.raises(UsageError, match="Did you mean mfec"):
        make_agent("mfecc", environment)
    with pytest.raises(UsageError, match=r"Did you mean agent\.discount"):
        make_agent("mfec", environment, gamma=0.9)
    with pytest.raises(UsageError, match="Did you mean cartpole"):
        train("mfec", "cartpol", folder=tmp_path / "none")
    with pytest.raises(UsageError, match="steps"):
        train("mfec", "cartpole", folder=tmp_path / "none", steps="many")
    with pytest.raises(UsageError, match="steps"):
        train("mfec", "cartpole", folder=tmp_path / "none", steps="1e2.5")
    assert not (tmp_path / "none").exists()
    agent = make_agent("mfec", environment)
    with pytest.raises(UsageError, match="call act"):
        agent.observe(np.zeros(4, np.float32), 0.0, False, False)
    observation, _ = environment.reset(seed=0)
    agent.act(observation, 5)  # an info that is no dict
    with pytest.raises(UsageError, match="not of its space"):
        agent.observe(np.zeros(5, np.float32), 0.0, False, False)
    with pytest.raises(UsageError, match="finite"):
        agent.observe(observation, float("nan"), False, False)
    with pytest.raises(UsageError, match="terminated of the environment is 'no'"):
        agent.observe(observation, 0.0, "no", False)
    for seed in (-1, 2**32, 1.5, None):
        with pytest.raises(UsageError, match=f"seed is {seed}; it must be a whole number of at least 0"):
            make_agent("ppo", environment, seed=seed)
    with pytest.raises(UsageError, match=r"env is 'CartPole-v1' \(str\); make_agent takes an environment"):
        make_agent("mfec", "CartPole-v1")
    with pytest.raises(UsageError, match=r"env is of type TimeLimit; train makes its environments itself"):
        train("mfec", environment, folder=tmp_path / "none")
    with pytest.raises(UsageError, match=r"callbacks\[0\] is 3 \(int\), which cannot be called"):
        train("mfec", "cartpole", folder=tmp_path / "none", callbacks=[3])
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match=r"callbacks is of type function; give a list"):
        train("mfec", "cartpole", folder=tmp_path / "none", callbacks=lambda moment: None)
    assert not (tmp_path / "none").exists()
    next_step = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(UsageError, match="SAME_STEP"):
        make_agent("mfec", next_step)


@pytest.mark.parametrize(
    "value",
    [
        1, 0.5, True, None, "word", "two words", "it's", "a=b", "[x]", "ALE/Pong-v5", [1, "a b", None],
        {"k": {"n": [1.5, False]}},
    ],
)  # fmt: skip
def test_values_are_taken_as_they_are(value):
    words = ["env=gym", "env.id=X-v0", *value_words({"+env.kwargs.given": value})]
    with composed("train", words) as config:
        assert config.env.kwargs.given == value
        assert HydraConfig.get().job.config_name == "train"


def test_environments_are_named_as_in_conf_or_by_id():
    assert environment_words("cartpole") == ["env=cartpole"]
    assert environment_words("Acrobot-v1") == ["env=gym", "env.id=Acrobot-v1"]
    assert environment_words("MiniGrid-Empty-5x5-v0") == ["env=minigrid", "env.id=MiniGrid-Empty-5x5-v0"]
    assert environment_words("ALE/Pong-v5")[0] == "env=atari"


def test_ids_need_no_version(monkeypatch):
    assert environment_words("my_module:Maze") == ["env=gym", "env.id='my_module:Maze'"]
    assert environment_words("Maze") == ["env=Maze"]
    monkeypatch.setitem(gym.registry, "Maze", None)
    assert environment_words("Maze") == ["env=gym", "env.id=Maze"]


@pytest.mark.parametrize("hidden", [np.array([8, 9]), torch.tensor([8, 9]), (8, 9), range(8, 10), [np.int64(8), 9]])
def test_values_may_be_arrays(hidden):
    assert value_words({"agent.hidden": hidden}) == ["agent.hidden=[8,9]"]


def test_numbers_of_arrays_are_numbers():
    given = {
        "a": np.float32(0.5),
        "b": np.array(3),
        "c": np.bool_(True),
        "d": {"e": np.array([[1.5]])},
        "f": np.str_("x"),
    }
    assert value_words(given) == ["a=0.5", "b=3", "c=true", "d={e:[[1.5]]}", "f=x"]


@pytest.mark.parametrize(
    ("value", "place"), [({1, 2}, "hidden"), (object(), "hidden"), (1j, "hidden"), (b"x", "hidden"),
                         ([1, torch.nn.Linear(1, 1)], r"hidden\[1\]"), ({"a": [print]}, r"hidden.a\[0\]")],
)  # fmt: skip
def test_a_value_that_no_word_can_say_is_refused_by_place(value, place):
    with pytest.raises(UsageError, match=rf"^{place} is .*a value here is a number, a word"):
        value_words({"hidden": value})


def test_an_agent_takes_an_array_and_refuses_what_is_none():
    with gym.make("CartPole-v1") as env:
        assert make_agent("ppo", env, hidden=np.array([8, 9])) is not None
        with pytest.raises(UsageError, match=r"agent.hidden is \{8\} \(set\)"):
            make_agent("ppo", env, hidden={8})
