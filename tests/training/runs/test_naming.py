"""Each launch has a folder of its own, whose name can be pasted behind resume= whatever a sweep was given."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from engram_rl.training import evaluate, train
from engram_rl.training.reporting.words import read
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.runs.naming import LONGEST, claimed, quoted, run_folder_name, shell, short_name

TINY = (
    "progress=false", "steps=40", "evaluation.every=0", "evaluation.episodes=1", "agent=mfec", "env=cartpole",
    "agent.memory.capacity=100", "log.video=false", "log.memory=false",
)  # fmt: skip


@pytest.fixture
def same_second(monkeypatch):
    monkeypatch.setattr("engram_rl.training.runs.naming.time.strftime", lambda form: "2026-01-31_12-00-00")


def test_launches_of_one_second_do_not_meet(command, same_second):
    for discount in (0.9, 0.8, 0.7):
        status, printed = command(train.main, *TINY, f"agent.discount={discount}")
        assert status == 0, printed
    folders = sorted(Path("runs").iterdir())
    first = "2026-01-31_12-00-00_mfec_cartpole_seed1"
    assert [folder.name for folder in folders] == [first, f"{first}_2", f"{first}_3"]
    assert [RunFolder(folder).config().agent.discount for folder in folders] == [0.9, 0.8, 0.7]


def test_a_launch_that_is_refused_leaves_no_folder_nor_number(command, same_second):
    for _ in range(2):
        assert command(train.main, *TINY, "seed=-1")[0] == 2
        assert not list(Path("runs").iterdir())


def test_a_folder_that_is_named_is_taken_as_it_is(command):
    for status in (0, 2):
        assert command(train.main, *TINY, "hydra.run.dir=mine")[0] == status
    assert [path.name for path in Path().iterdir()] == ["mine"]


def test_sweeps_of_one_second_do_not_meet_and_their_runs_resume_by_their_names(command):
    dated = "hydra.sweep.dir='runs/${now:%Y}_sweep'"
    for _ in range(2):
        status, printed = command(
            train.main, "-m", *TINY, dated, "seed=1,2", "+env.kwargs.sutton_barto_reward=true,false"
        )
        assert status == 0, printed
    sweeps = sorted(Path("runs").iterdir())
    assert [len(list(sweep.glob("*/summary.json"))) for sweep in sweeps] == [4, 4]
    run = sweeps[1] / sorted(path.name for path in sweeps[1].iterdir() if path.is_dir())[3]
    assert re.fullmatch(r"3_[\w.+-]+", run.name) and len(run.name) <= LONGEST + 4
    status, printed = command(train.main, f"resume={run}", "steps=80")
    assert status == 0, printed
    assert json.loads((run / "summary.json").read_text())["steps"] == 80


def test_names_are_short_and_of_plain_characters():
    assert short_name("agent=nec,seed=1") == "_agent-nec_seed-1"
    assert short_name("env.kwargs={'a': [1, 2]},x=é/y z") == "_env.kwargs-a1_2_x-yz"
    assert short_name("") == "" and len(short_name("a=1," * 500)) == 81 == LONGEST + 1


def test_a_run_is_named_by_its_time_what_it_was_called_and_what_it_is_of(same_second):
    assert run_folder_name("nec", "gym-CartPole", 3) == Path("runs/2026-01-31_12-00-00_nec_gym-CartPole_seed3")
    named = run_folder_name("nec", "gym-world:Maze-v0", 1, name="my first/try")
    assert named == Path("runs/2026-01-31_12-00-00_my-first-try_nec_gym-world-Maze-v0_seed1")


def test_a_claimed_folder_is_nobody_elses(tmp_path):
    names = [claimed(tmp_path / "new" / "run").name for _ in range(3)]
    assert names == ["run", "run_2", "run_3"]


@pytest.mark.parametrize("name", ["0_agent=nec,seed=1", "a b (c)", "it's", "{x: 1}", "[1]", "ünï", "a=b", "plain-1.2"])
def test_a_run_opens_by_whatever_name_it_has(command, name):
    if not Path("made").exists():
        assert command(train.main, *TINY, "hydra.run.dir=made")[0] == 0
    shutil.copytree("made", f"other/{name}")
    status, printed = command(evaluate.main, f"run=other/{name}", "episodes=1")
    assert status == 0, printed
    assert Path(f"other/{name}/evaluation.json").exists()


def test_only_paths_that_are_there_are_put_into_quotes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a=b", "it's", "plain"):
        Path(name).mkdir()
    assert quoted("resume=a=b", ["resume"]) == "resume='a=b'"
    assert quoted("resume=it's", ["run", "resume"]) == r"resume='it\'s'"
    assert quoted("resume=plain", ["resume"]) == "resume=plain"
    for given in ("resume=c=d", "other=a=b", "resume", "resume='a=b'"):
        assert quoted(given, ["resume"]) == given


def test_commands_that_are_not_hydras_take_quotes_off_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a b", "it's", "plain"):
        Path(name).mkdir()
        for given in (f"run={name}", quoted(f"run={name}", ["run"])):
            assert read([given], {"run": "latest"}) == ([], {"run": name})


NAMES = ["a b (c)", "it's $HOME", "{x: 1}", "ünï cödé", "plain-1.2", "semi;colon & more", "-dash", "~"]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_that_is_printed_is_one_that_a_shell_takes(name):
    words = ["engram", "train", f"resume=runs/{name}"]
    assert shlex.split(shell(*words)) == words
    assert shell("engram", "train", "resume=runs/a_b-1.2") == "engram train resume=runs/a_b-1.2"


def test_on_windows_a_command_is_quoted_as_its_own_shells_do(monkeypatch):
    assert shell("tensorboard", "--logdir", "my runs/1") == "tensorboard --logdir 'my runs/1'"
    monkeypatch.setattr("engram_rl.training.runs.naming.os.name", "nt")
    assert shell("tensorboard", "--logdir", r"C:\my runs\1") == r'tensorboard --logdir "C:\my runs\1"'


def test_the_commands_that_a_run_prints_go_on_with_it(command):
    folder = Path("my runs") / "it's (1)"
    status, printed = command(train.main, *TINY, "hydra.run.dir='my runs/it\\'s (1)'")
    assert status == 0, printed
    shown = shlex.split(re.search(r"TensorBoard: (.*) \(tab", printed)[1])
    assert shown[:2] == ["tensorboard", "--logdir"] and Path(shown[2]).resolve() == folder.resolve()
    status, printed = command(train.main, *TINY, "hydra.run.dir='my runs/it\\'s (1)'")
    given = shlex.split(re.search(r"Continue it with (.*), or name", printed)[1])
    assert status == 2 and [Path(word.partition("=")[2]).resolve() for word in given] == [folder.resolve()]
    status, printed = command(train.main, *given)
    told = shlex.split(re.search(r"give more: (.*)", printed)[1])
    assert status == 0 and told[1] == "steps=80"
    status, printed = command(train.main, "progress=false", *told)
    assert status == 0, printed
    assert json.loads((folder / "summary.json").read_text())["steps"] == 80


def test_no_command_with_a_path_is_made_but_by_the_one_function():
    for path in Path(train.__file__).parent.rglob("*.py"):
        for line in path.read_text().splitlines():
            assert "shell(" in line or not re.search(r"(resume=|run=|--logdir )\{", line), f"{path}: {line}"
