"""The command line as a new user meets it: runs, resumes, and one-screen errors that name value and remedy."""

import json
import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from engram_rl.training import evaluate, train
from engram_rl.training.cli import in_whole_numbers
from engram_rl.training.logging.logger import read_rows
from engram_rl.training.logging.video import has_encoder
from engram_rl.training.runs.folder import RunFolder

ROOT = Path(train.__file__).parents[1]
TINY = (
    "progress=false", "steps=600", "log.every=200", "evaluation.every=300", "evaluation.episodes=2",
    "checkpoint.every=200", "agent.learn_after=100", "agent.memory.capacity=400", "agent.memory.k=5",
    "log.video=false",
)  # fmt: skip


MFEC = (
    "progress=false", "agent=mfec", "agent.memory.capacity=100", "steps=64", "evaluation.every=0",
    "evaluation.episodes=1", "log.memory=false", "log.video=false",
)  # fmt: skip


def trained(command, *arguments):
    status, printed = command(train.main, *TINY, *arguments)
    assert status == 0, printed
    return RunFolder.open(Path("latest")).path


def test_a_run_leaves_everything_its_readers_need(command):
    folder = trained(command, "seed=3")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 600
    assert summary["seed"] == 3
    assert summary["score"] == summary["scores"][summary["mode"]] > 0
    assert summary["seconds"] > 0
    assert 0 < summary["memory_entries"] <= 600
    assert {"torch", "gymnasium", "python"} <= summary["versions"].keys()
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert list(folder.glob("events.out.tfevents.*"))
    assert len(list((folder / "checkpoints").glob("step_*"))) == 2
    assert len(list((folder / "checkpoints").glob("best_step_*"))) == 1
    names = set().union(*(row.keys() for row in read_rows(folder / "metrics.jsonl")))
    assert names >= {
        "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate", "time/fps", "train/loss",
        "eval/online_mean_reward", "memory/size", "memory/hit_distance", "memory/top_weight",
    }  # fmt: skip


def test_evaluation_puts_random_untrained_and_trained_side_by_side(command):
    folder = trained(command)
    status, printed = command(evaluate.main, f"run={folder}", "episodes=3")
    assert status == 0
    assert all(word in printed for word in ("random", "untrained", "trained", "tensorboard --logdir"))
    report = json.loads((folder / "evaluation.json").read_text())
    assert [len(agent["returns"]) for agent in report["agents"].values()] == [3, 3, 3]


@pytest.mark.parametrize("memory", ["online", "fresh"])
def test_evaluation_may_go_on_remembering_and_records_an_episode(command, memory, tmp_path):
    folder = trained(command, "env=hiddengoal")
    status, printed = command(
        evaluate.main, "episodes=10", f"memory={memory}", "video=true", "checkpoint=best", "out=seen/deep"
    )
    assert status == 0, printed
    assert f"memory {memory}" in printed
    text = Path("seen/deep/evaluation.json").read_text()
    report = json.loads(text)
    assert text == json.dumps(report, indent=2) + "\n"
    assert (report["memory"], report["checkpoint"]) == (memory, "best")
    low, high = report["agents"]["trained"]["interval"]
    assert low <= report["agents"]["trained"]["mean"] <= high
    assert Path("seen/deep/evaluation.gif").read_bytes().startswith(b"GIF8")
    assert Path("seen/deep/evaluation.mp4").exists() is has_encoder()
    assert not (folder / "evaluation.json").exists()


def test_evaluation_explains_what_it_does_not_know(command):
    trained(command, "steps=40", "evaluation.every=0")
    for given, message in (("memory=fresch", "Did you mean fresh"), ("checkpoint=best", "no best checkpoint yet")):
        status, printed = command(evaluate.main, given)
        assert status == 2
        assert message in printed


def test_evaluation_leaves_the_run_as_it_was(command):
    folder = trained(command)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    command(evaluate.main, "run=latest", "episodes=2")
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize("env", ["env=minigrid", "env=gym env.id=Acrobot-v1"])
def test_other_environments_train_too(command, env):
    folder = trained(command, *env.split(), "steps=80")
    assert json.loads((folder / "summary.json").read_text())["steps"] == 80


def test_a_sweep_makes_a_folder_for_each_value(command):
    status, printed = command(train.main, "-m", *TINY, "steps=40", "seed=1,2")
    assert status == 0, printed
    seeds = [json.loads(p.read_text())["seed"] for p in Path("runs").rglob("summary.json")]
    assert sorted(seeds) == [1, 2]


def test_help_teaches(command):
    status, printed = command(train.main, "--help")
    assert status in (0, None)
    assert all(word in printed for word in ("engram train agent=nec", "resume=", "-m seed=1,2,3", "env: ", "steps:"))


def test_help_explains_the_values_of_what_is_chosen(command):
    _, printed = command(train.main, "agent=ppo", "--help")
    assert re.search(r"log\.every +environment steps between two points", printed)
    assert "agent.num_steps " in printed and "agent.key_size" not in printed


def test_help_explains_what_is_inherited_and_what_is_taken_from_other_groups(command):
    _, printed = command(train.main, "agent=retrieval_ppo_view", "--help")
    lines = dict(re.findall(r"^  ([\w.]+) {2,}(.+)$", printed.partition("What they mean:")[2], re.MULTILINE))
    own = yaml.safe_load((ROOT / "conf/agent/retrieval_ppo_view.yaml").read_text())
    assert {"agent.num_steps", "agent.attention.width", "agent.view.size", "agent.memory.capacity"} <= lines.keys()
    assert "num_steps" not in own and "env.success_above" in lines
    assert lines["agent.normalise_advantage"].startswith("whether advantages are normalised; that would blow up")
    assert not any(place.startswith("agent.exploration") for place in lines)


def test_help_explains_to_the_end_of_a_comment_of_several_lines(command):
    _, printed = command(evaluate.main, "--help")
    assert re.search(r"memory_mode  .*fresh: online from an empty memory; null: as the run's own score", printed)
    assert re.search(
        r"^  episodes|^  seed +of the evaluation's episodes and of the random agent$", printed, re.MULTILINE
    )


def test_help_explains_a_yaml_of_ones_own(command, tmp_path):
    (tmp_path / "conf" / "agent").mkdir(parents=True)
    (tmp_path / "conf" / "agent" / "mine.yaml").write_text("defaults: [ppo, _self_]\nepochs: 3  # as I like it\n")
    _, printed = command(train.main, "agent=mine", "--config-dir", str(tmp_path / "conf"), "--help")
    assert re.search(r"agent\.epochs +as I like it", printed) and re.search(r"agent\.num_steps +\w", printed)


def test_flags_may_stand_among_the_values(command, tmp_path):
    (tmp_path / "conf" / "env").mkdir(parents=True)
    (tmp_path / "conf" / "env" / "mine.yaml").write_text("defaults: [cartpole]\nnum_envs: 2\n")
    status, printed = command(train.main, "agent=mfec", "--config-dir", str(tmp_path / "conf"), "env=mine", *MFEC)
    assert status == 0, printed
    assert RunFolder.open(Path("latest")).config().env.num_envs == 2


def test_a_run_that_has_done_its_steps_says_so(command):
    assert command(train.main, *MFEC)[0] == 0
    folder = RunFolder.open(Path("latest")).path
    for steps, said in ((32, True), (64, True), (96, False)):
        status, printed = command(train.main, f"resume={folder}", f"steps={steps}")
        assert status == 0
        assert (f"has done 64 steps already, of steps={steps}" in printed) is said


def test_the_module_of_an_environment_that_is_not_found_is_looked_for_with_the_flag_that_finds_it(command, tmp_path):
    (tmp_path / "there").mkdir()
    made = "gym.register('Mine-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=9)"
    (tmp_path / "there" / "my_world_17.py").write_text(f"import gymnasium as gym\n{made}\n")
    flag = ("--config-dir", str(tmp_path / "there"))
    opened: tuple[str, ...] = (*MFEC, "env=gym", "env.id=my_world_17:Mine-v0", "hydra.run.dir=r")
    for main in (train.main, evaluate.main, train.main):
        status, printed = command(main, *opened)
        assert status == 2 and "no module 'my_world_17'" in printed and "--config-dir FOLDER" in printed
        status, printed = command(main, *opened, *flag)
        assert status == 0, printed
        opened = ("run=r", "episodes=1") if main is train.main else ("resume=r", "steps=80")
        sys.modules.pop("my_world_17")
        sys.path.remove(flag[1])
        gym.registry.pop("Mine-v0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import not_there_17", "No module named 'not_there_17'"),
        ("def (", "invalid syntax"),
        ("1 / 0", "division by zero"),
        ("import json\njson.loads('{')", "Expecting property name"),
    ],
)
def test_a_module_that_breaks_when_imported_is_shown_with_its_line(command, tmp_path, text, said):
    (tmp_path / "broken_17.py").write_text(f"\n{text}\n")
    status, printed = command(train.main, *MFEC, "env=gym", "env.id=broken_17:Mine-v0")
    assert status == 2 and "In your environment broken_17:Mine-v0" in printed and said in printed
    assert f"broken_17.py, line {2 + text.count(chr(10))}" in printed


def test_a_reader_that_goes_is_no_error(tmp_path):
    command = f"{sys.executable} {ROOT / 'train.py'} --help | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout and not done.stderr


OUT_OF_RANGE = {
    "agent=mfec agent.exploration.end=-1": r"exploration.end is -1; it must be at least 0 and at most 1",
    "agent=mfec agent.exploration=2": "exploration is 2; it must be at least 0 and at most 1",
    "agent=nec agent.exploration.steps=-1": "exploration.steps is -1",
    "agent=ppo agent.clip=-1": "clip is -1",
    "agent=ppo agent.learning_rate=-1": "learning_rate is -1",
    "agent=ppo +agent.max_gradient_norm=0": "max_gradient_norm is 0; it must be above 0",
    "agent=ppo agent.entropy_coefficient=nan": "entropy_coefficient is nan; it must be at least 0",
    "agent=ppo agent.entropy_coefficient=-1": "entropy_coefficient is -1; it must be at least 0",
    "agent=nec +agent.batch_size=0": "batch_size is 0; it must be at least 1",
    "agent=nec +agent.learn_every=0": "learn_every is 0; it must be at least 1",
    "agent=nec agent.learn_after=-5": "learn_after is -5; it must be at least 0",
    "agent=retrieval_ppo agent.retrieval.memory_dropout=2": "memory_dropout is 2; it must be at least 0 and at most 1",
    "agent=retrieval_ppo +agent.retrieval.discount=1.5": "discount is 1.5",
    "agent=mfec log.retrieved=-1": "log.retrieved is -1; it must be a number of environment steps, or 0 for never",
    "agent=mfec evaluation.every=-1": "evaluation.every is -1",
    "agent=mfec checkpoint.every=-1": "checkpoint.every is -1",
    "agent=mfec agent.memory.forgetting=decay": "forgetting 'decay' has no half-life: give .*half_life: 10000",
    "agent=mfec agent.memory.forgetting=trust": "unknown forgetting policy 'trust': it is 'confidence' now",
    "agent=nec agent.memory.index=kept": "unknown index 'kept': it is 'cached' now",
}


@pytest.mark.parametrize("given", OUT_OF_RANGE)
def test_numbers_out_of_range_and_old_words_are_refused_before_anything_is_made(command, given):
    status, printed = command(train.main, "progress=false", "steps=40", *given.split())
    assert status == 2 and re.search(OUT_OF_RANGE[given], printed), printed
    assert "Traceback" not in printed and not list(Path().rglob("*.*"))


@pytest.mark.parametrize("given", ["name=größe", "tags=[größe", "name=it's", "name=a(b"])
def test_what_the_grammar_does_not_read_is_shown_as_it_would(command, given):
    status, printed = command(train.main, *MFEC, given)
    remedy = re.search(r'shell: "(.*)"\. A list', printed)
    assert status == 2 and remedy and "hydra.cc" not in printed
    read = OverridesParser.create().parse_overrides([remedy[1]])[0]
    assert f"{read.key_or_group}={read.value()}" == given


def test_a_word_that_is_no_value_is_said(command):
    status, printed = command(train.main, *MFEC, "fast")
    assert status == 2 and "'fast' is no value: give key=value" in printed


@pytest.mark.parametrize(
    ("folder", "remedy"), [("file", "name another"), ("file/run", "name another"), ("x" * 300, "a shorter folder")]
)
def test_a_folder_that_cannot_be_made_has_its_remedy(command, folder, remedy):
    Path("file").write_text("")
    status, printed = command(train.main, *MFEC, f"hydra.run.dir={folder}")
    assert status == 2 and remedy in printed and "Score" not in printed


def test_a_file_of_a_run_leads_to_its_folder(command):
    Path("mine").mkdir()
    Path("mine/config.yaml").write_text("seed: 1\n")
    for inside in ("mine/config.yaml", "mine/checkpoints/step_none"):
        status, printed = command(train.main, f"resume={inside}")
        assert status == 2 and f"{inside} {'is a file' if 'yaml' in inside else 'does not exist'}" in printed
        assert "such as mine." in printed


def test_whole_numbers_may_be_written_as_powers_of_ten(command):
    folder = trained(command, "steps=6e2", "agent.memory.capacity=4e2", "agent.hidden=[1e1]")
    assert json.loads((folder / "summary.json").read_text())["steps"] == 600
    assert in_whole_numbers("steps=1e5,2e5") == "steps=100000,200000"
    assert in_whole_numbers("agent.optimiser.lr=1e0") == "agent.optimiser.lr=1e0"


BAD = {
    "gamma=0.9": "no key 'gamma' at the top.*Did you mean agent.discount\\?",
    "agent.gamma=0.9": "no key 'gamma' under 'agent'.*Did you mean agent.discount\\?",
    "discount=0.9": "Did you mean agent.discount\\?",
    "lr=1e-3": "Did you mean agent.learning_rate or \\+agent.row_learning_rate",
    "total_timesteps=1e5": "Did you mean steps\\?",
    "env_id=CartPole-v1": "Did you mean env.id\\?",
    "n_envs=4": "Did you mean env.num_envs\\?",
    "buffer_size=9": "Did you mean \\+agent.replay_capacity",
    "agent.optimizer.lr=1": "Did you mean \\+agent.optimiser or",
    "agent.optimiser.lr=1": "agent.optimiser.lr is agent.learning_rate now.",
    "agent=nec_eager": "agent=nec_eager is agent=nec_sample_efficient now.",
    "log.film=false": "no key 'film' under 'log'. log.film is log.video now.",
    "steps=1.5": "could not be converted to Integer",
    "agent=nce": "no agent 'nce'. Did you mean nec",
    "env=cartpol": "no env 'cartpol'. Did you mean cartpole",
    "seeed=1": "no key 'seeed'.*Did you mean seed",
    "agent.n_stp=3": "no key 'n_stp' under 'agent'. Did you mean n_step",
    "env.kwargs.gravity=1": r"takes new keys with a plus: \+env.kwargs.gravity",
    "steps=many": "many",
    "seed=-1": "seed is -1.*at least 0",
    "steps=0": "steps is 0.*at least 1",
    "env=gym": "env.id has no value",
    "env=gym env.id=CartPol-v1": "CartPol-v1.*Did you mean CartPole-v1",
    "env=gym env.id=Pendulum-v1": "NEC chooses among Discrete or MultiDiscrete actions.*Box",
    "agent.device=cuda:7": "cuda:7|no NVIDIA GPU",
    "agent.memory.capacity=0": "capacity is 0.*at least 1",
    "agent.memory.k=many": "agent.memory.k is 'many'.*a whole number",
    "agent.n_step=0": "n_step is 0; it must be at least 1",
    "resume=nowhere": "nowhere does not exist",
    "resume=.": "holds no run",
}


@pytest.mark.parametrize("given", BAD)
def test_bad_input_is_explained_on_one_screen(command, given):
    import re

    status, printed = command(train.main, "progress=false", *given.split())
    assert status == 2
    assert re.search(BAD[given], printed, re.DOTALL)
    assert "Traceback" not in printed
    assert len(printed.splitlines()) < 12
    assert not list(Path().rglob("*.*")), "a refused run leaves nothing behind"
    assert not [p for p in Path().rglob("*") if p.name.startswith("20")]


def test_a_folder_that_holds_a_run_is_not_overwritten(command):
    folder = trained(command, "steps=40")
    before = (folder / "metrics.jsonl").read_bytes() if (folder / "metrics.jsonl").exists() else b""
    status, printed = command(train.main, *TINY, f"hydra.run.dir={folder}")
    assert status == 2
    assert "already holds a run" in printed
    after = (folder / "metrics.jsonl").read_bytes() if (folder / "metrics.jsonl").exists() else b""
    assert after == before


@pytest.mark.parametrize("keep", [0, 100])
def test_a_truncated_checkpoint_is_not_evaluated_but_the_run_goes_on_from_the_one_before(command, keep):
    folder = trained(command)
    newest = max((folder / "checkpoints").iterdir())
    path = newest / "state.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    status, printed = command(evaluate.main, f"run={folder}")
    assert status == 2
    assert f"Remove {newest} to go on from step_000000000400" in printed
    assert "Traceback" not in printed
    assert {p: p.read_bytes() for p in before} == before
    status, printed = command(train.main, f"resume={folder}")
    assert status == 0
    assert "is damaged" in printed
    assert "Going on from" in printed
    assert (folder / "checkpoints" / f"{newest.name}.damaged").is_dir()
    assert RunFolder(folder).load_checkpoint()["step"] == 600


def test_a_foreign_run_folder_cannot_choose_what_is_built(command):
    folder = trained(command, "steps=40")
    config = folder / "config.yaml"
    stored = config.read_text()
    for ours, theirs, said in (
        ("engram_rl.agents.nec.make_nec", "subprocess.Popen", "asks to build subprocess.Popen, which no YAML of"),
        ("engram_rl.agents.nec.make_nec", "${env.id}", "holds an interpolation at agent._target_"),
        ("id: CartPole-v1", "id: runs.theirs:Trap-v0", "asks to import the module of runs.theirs:Trap-v0"),
    ):
        config.write_text(stored.replace(ours, theirs))
        status, printed = command(evaluate.main, f"run={folder}")
        assert status == 2
        assert said in printed


def test_a_run_folder_below_the_users_own_cannot_vouch_for_itself(command):
    folder = trained(command, "steps=40")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("engram_rl.agents.nec.make_nec", "subprocess.Popen"))
    status, printed = command(evaluate.main, f"run={folder}", "--config-dir", str(folder.parent.parent))
    assert status == 2
    assert "asks to build subprocess.Popen" in printed


class Poisoned(gym.Env):
    """Turns NaN after ten steps."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(2, np.nan if self.steps > 10 else 0, np.float32), 0.0, False, False, {}


gym.register("test/Poisoned-v0", Poisoned)


def test_nan_in_an_observation_stops_the_run_with_its_place(command):
    status, printed = command(train.main, *TINY, "env=gym", "env.id=test/Poisoned-v0")
    assert status == 2
    assert "observation of environment 0 holds nan" in printed
    assert "Traceback" not in printed


def test_the_commands_run_from_a_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *TINY, "steps=24"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "TensorBoard: tensorboard --logdir" in done.stdout


EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
SMALL = ("steps=64", "progress=false", "log.every=32", "evaluation.every=0", "evaluation.episodes=1")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_tiny(command, experiment):
    short = []
    if experiment.startswith("atari"):
        pytest.importorskip("ale_py", reason="needs the extra `atari`")
        short = ["env.num_envs=2", "+env.kwargs.max_num_frames_per_episode=200"]
    status, printed = command(train.main, f"experiment={experiment}", *SMALL, *short)
    assert status == 0, printed


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_yaml_opens_with_the_command_that_uses_it(path):
    opening = next(line for line in path.read_text().splitlines() if not line.startswith("# @package"))
    assert opening.startswith("# ")
    assert "engram " in opening
