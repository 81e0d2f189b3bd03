"""`make demo` compares, draws and says where the images are."""

import re
import shlex
from pathlib import Path

from benchmarks import fast_slow_figure
from benchmarks.shift.__main__ import main
from engram_rl.training import train
from engram_rl.training.reporting import compare

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")


def test_the_demo_runs(tmp_path, capsys):
    command = re.search(r"benchmarks\.shift (.*agents=\[fast_slow,ppo.*)", MAKEFILE)[1]
    given = [word for word in shlex.split(command) if not word.startswith(("seeds=", "out="))]
    assert main([*given, "seeds=1", "episodes=4", "workers=1", "progress=false", f"out={tmp_path / 'rows.jsonl'}"]) == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"^\| {agent} +\|", printed, re.MULTILINE) for agent in ("fast_slow", "ppo", "random"))
    assert list(tmp_path.glob("*.png"))


def test_it_leaves_runs_to_open(command):
    (words,) = re.findall(r"/engram train (.*)", MAKEFILE)
    tiny = ["steps=40", "evaluation.episodes=1", "evaluation.every=0", "log.video=false"]
    status, printed = command(train.main, *shlex.split(words), *tiny)
    assert status in (0, None), printed
    (words,) = re.findall(r"/engram compare (.*)", MAKEFILE)
    assert compare.main(shlex.split(words)) == 0
    (logs,) = re.findall(r"tensorboard --logdir ([\w/]+)", MAKEFILE)
    assert len(list(Path(logs).rglob("events.out.tfevents.*"))) >= 2
    assert Path("runs/demo/comparison.png").is_file()


def test_its_picture_is_drawn(tmp_path):
    assert "benchmarks.fast_slow_figure out=" in MAKEFILE
    assert fast_slow_figure.main(["episodes=[0,1]", f"out={tmp_path / 'picture.png'}"]) == 0
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
