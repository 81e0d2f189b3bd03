"""A run as a page and as a card: what they say is what the run's files say, escaped, and a browser shows it."""

import base64
import json
import re
import shutil
import subprocess

import pytest
import yaml
from omegaconf import OmegaConf

from engram_rl.training import train
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import MODES
from engram_rl.training.reporting import card, page
from engram_rl.training.runs.folder import RunFolder

TINY = (
    "progress=false", "steps=400", "log.every=100", "evaluation.every=200", "evaluation.episodes=2", "agent=mfec",
    "agent.memory.capacity=400", "env=hiddengoal", "name='<b>bold'", "tags=[one,two]",
)  # fmt: skip


@pytest.fixture
def done(command):
    status, printed = command(train.main, *TINY, "hydra.run.dir=done")
    assert status == 0, printed
    folder = RunFolder.open(train.Path("done")).path
    evaluation = {"mean": 0.5, "interval": [0.25, 0.75], "returns": [0.25, 0.75], "lengths": [3, 4]}
    report = {"step": 400, "memory": "online", "episodes": 2, "agents": {"random": evaluation, "trained": evaluation}}
    (folder / "evaluation.json").write_text(json.dumps(report))
    return folder


def test_the_page_says_what_the_run_came_to_and_needs_nothing_beside_it(done):
    shown = page.page(done)
    summary = json.loads((done / "summary.json").read_text())
    for heading in ("Learning", "Evaluation", "An episode", "What it remembers", "Other curves", "What was asked"):
        assert f"<h2>{heading}</h2>" in shown
    assert f"<dd>{summary['memory_entries']:,}</dd>" in shown and "0.250 to 0.750" in shown
    assert "<b>bold" not in shown and "&lt;b&gt;bold" in shown
    assert not re.search(r'(src|href)="(?!data:)', shown)
    assert "engram train progress=false steps=400" in shown
    assert page.main([f"run={done}"]) == 0
    assert (done / "report.html").read_text(encoding="utf-8") == shown


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium here")
def test_a_browser_shows_it(done):
    page.main([f"run={done}"])
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=3000"]
    dom = subprocess.run(
        ["chromium", *flags, f"file://{(done / 'report.html').resolve()}"], capture_output=True, text=True, timeout=120
    ).stdout
    assert dom.count("<img") + dom.count("<video") >= 4 and "What it remembers" in dom


def test_a_run_that_broke_or_goes_on_has_a_page_too_but_no_card(done):
    (done / "summary.json").write_text(json.dumps({"score": None, "error": "it <broke>", "steps": 7}))
    assert "it &lt;broke&gt;" in page.page(done)
    with pytest.raises(UsageError, match="no score yet"):
        card.card(done)
    for name in ("summary.json", "metrics.jsonl", "episodes.jsonl", "memory_keys.tsv", "evaluation.json"):
        (done / name).unlink()
    assert "has not ended" in page.page(done)


def test_the_card_is_what_hubs_read(done):
    assert card.main([f"run={done}"]) == 0
    text = (done / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    summary = json.loads((done / "summary.json").read_text())
    (result,) = told["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == round(summary["score"], 4)
    assert {"reinforcement-learning", "one", "two"} <= set(told["tags"])
    assert 'load_agent("done")' in body and "| trained | 0.5 |" in body


SUMMARY = {
    "score": 12.5, "mode": "online", "scores": {"online": 12.5, "frozen": 1.25}, "episodes": 20, "cut": 0,
    "steps": 12000, "seconds": 61.7, "seed": 3, "memory_entries": 4567, "versions": {"python": "3.11", "torch": "2.0"},
}  # fmt: skip
TOLD = {"mean": 12.5, "interval": [10.0, 15.5], "returns": [9.0, 12.5, 16.25], "lengths": [1, 2, 3]}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A run's folder as training and evaluating leave it, written by hand."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(train.Path("r"), given=["agent=nec", "env=gym"])
    env = {"id": "CartPole-v1", "kwargs": {"fast": True}}
    agent = {"_target_": "engram_rl.agents.nec.make_nec", "rate": 1}
    config = {"agent": agent, "env": env, "seed": 3, "steps": 500, "name": "first", "tags": ["a&b"]}
    folder.start(OmegaConf.create(config))
    folder.write_json("summary.json", SUMMARY)
    agents = {"random": TOLD, "trained": TOLD}
    folder.write_json("evaluation.json", {"episodes": 3, "memory": "online", "agents": agents})
    rows = [{"step": 10, "memory/size": 3.0, "train/loss": 1.0}]
    rows += [{"step": 20, "memory/size": 12345.6, "memory/age": 0.5}]
    for name, lines in (("episodes", [{"step": 5, "return": 1.0, "length": 5}] * 1234), ("metrics", rows)):
        (folder.path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder.path


def without_pictures(shown):
    return re.sub(r'src="data:[^"]*"', "src", shown)


def test_the_page_of_a_run_says_each_of_its_numbers_once_and_in_order(small):
    (small / "episode.gif").write_bytes(b"GIF")
    (small / "evaluation.gif").write_bytes(b"GIF2")
    shown = page.page(small)
    assert shown.startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    body = shown[shown.index("<body>\n") : shown.index("\n</body></html>\n")].removeprefix("<body>\n")
    head, *rest = re.split(r"(?=<h2>)", without_pictures(body))
    assert head == (
        "<h1>nec on CartPole-v1, seed 3</h1>\n"
        '<p class="dim">r · first · a&amp;b</p>\n'
        "<dl><div><dt>score, online</dt><dd>12.5</dd></div><div><dt>score, frozen</dt><dd>1.250</dd></div>"
        "<div><dt>steps</dt><dd>12,000</dd></div><div><dt>episodes</dt><dd>1,234</dd></div>"
        "<div><dt>took</dt><dd>62 s</dd></div><div><dt>memories</dt><dd>4,567</dd></div></dl>\n"
        f'<p class="dim">online: {MODES["online"]}; frozen: {MODES["frozen"]}.</p>\n'
    )
    parts = {part.partition("</h2>")[0].removeprefix("<h2>"): part.partition("</h2>")[2].strip() for part in rest}
    assert list(parts) == [
        "Learning", "Evaluation", "An episode", "What it remembers", "Other curves", "What was asked", "Go on",
    ]  # fmt: skip
    row = "<td>12.5</td><td>10.0 to 15.5</td><td>9.0</td><td>16.2</td></tr>"
    assert parts["Evaluation"] == (
        "<p>3 episodes each, memory online.</p>\n<table><tr><th>agent</th><th>mean return</th><th>95 % interval</th>"
        f"<th>worst</th><th>best</th></tr><tr><td>random</td>{row}<tr><td>trained</td>{row}</table>"
    )
    at_end, last = "the trained agent at the end of training", "in the last evaluation"
    assert parts["An episode"] == '<div class="pair">\n' + "".join(
        f'<figure><img alt="{told}" src><figcaption>{told}</figcaption></figure>\n' for told in (at_end, last)
    ) + "</div>"  # fmt: skip
    assert parts["What it remembers"] == (
        "<table><tr><th>at the end</th><th>value</th></tr><tr><td>memory/age</td><td>0.5</td></tr>"
        "<tr><td>memory/size</td><td>1.235e+04</td></tr></table>"
    )
    asked, *details = parts["What was asked"].split("\n")
    assert asked == "<pre>engram train agent=nec env=gym</pre>"
    assert details[0] == "<details><summary>The whole configuration</summary><pre>agent:"
    assert details[-1] == '<p class="dim">python 3.11, torch 2.0</p>'
    assert parts["Go on"] == (
        "<pre>engram evaluate run=r episodes=100\nengram train resume=r steps=24000\ntensorboard --logdir r</pre>"
    )
    assert base64.b64encode(b"GIF").decode() in shown and base64.b64encode(b"GIF2").decode() in shown
    assert shown.count("data:image/svg+xml") == 2


def test_a_video_is_shown_in_the_place_of_its_gif_and_the_memory_where_it_is_laid_out(small):
    (small / "episode.gif").write_bytes(b"GIF")
    (small / "episode.mp4").write_bytes(b"MP4")
    (small / "memory_keys.tsv").write_text("1\t2\n3\t4\n")
    (small / "memory_metadata.tsv").write_text("value\n1\n2\n")
    shown = page.page(small)
    content = base64.b64encode(b"MP4").decode()
    video = f'<video controls loop muted autoplay src="data:video/mp4;base64,{content}"></video>'
    assert shown.count("<video") == 1 and video in shown and "image/gif" not in shown
    assert "<figcaption>2 entries by their keys, each a dot</figcaption>" in shown
    (small / "metrics.jsonl").unlink()
    shown = page.page(small)
    assert "2 entries by their keys" in shown and "Other curves" not in shown


def test_the_page_of_a_run_that_has_nothing_yet_has_no_empty_parts(small):
    for name in ("summary.json", "evaluation.json", "metrics.jsonl", "episodes.jsonl", "overrides.json"):
        (small / name).unlink()
    shown = without_pictures(page.page(small))
    assert re.findall("<h2>(.*?)</h2>", shown) == ["Learning", "What was asked", "Go on"]
    assert "<p><strong>The run has not ended.</strong></p>\n<dl><div><dt>steps</dt><dd>?</dd></div>" in shown
    assert "<dt>episodes</dt><dd>0</dd>" in shown and "<dt>took</dt><dd>?</dd></div></dl>" in shown
    assert "<h2>What was asked</h2>\n<details>" in shown and "engram train resume=r steps=1000\n" in shown
    assert shown.count('<p class="dim">') == 1
    (small / "summary.json").write_text(json.dumps({"score": None, "error": "broke", "steps": 7}))
    shown = page.page(small)
    assert "<p><strong>The run ended in an error:</strong></p><pre>broke</pre>" in shown and "not ended" not in shown
    assert "engram train resume=r steps=14\n" in shown


def test_the_page_and_the_card_are_written_where_they_are_asked_for(small, capsys):
    for command, name, told in (
        (page, "report.html", "Report: {} (open it in a browser)\n"), (card, "README.md", "Model card: {}\n"),
    ):  # fmt: skip
        assert command.main(["run=r"]) == 0
        assert capsys.readouterr().out == told.format(f"r/{name}")
        assert command.main(["run=r", "out=new/er/a.txt"]) == 0
        assert capsys.readouterr().out == told.format("new/er/a.txt")
        assert train.Path("new/er/a.txt").read_text() == (small / name).read_text()
        assert command.main(["--help"]) == 0
        assert capsys.readouterr().out == f"{command.__doc__}\n"


def test_the_card_of_a_run_in_full(small):
    (small / "episode.gif").write_bytes(b"GIF")
    _, front, body = card.card(small).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "engram-rl",
        "tags": ["reinforcement-learning", "episodic-memory", "CartPole-v1", "nec", "a&b"],
        "model-index": [
            {
                "name": "nec",
                "results": [
                    {
                        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
                        "dataset": {"name": "CartPole-v1", "type": "CartPole-v1"},
                        "metrics": [{"type": "mean_reward", "name": "mean return, online", "value": 12.5}],
                    }
                ],
            }
        ],
    }
    assert body.startswith(
        "\n# nec on CartPole-v1\n\nAn agent of engram-rl, trained for 12,000 environment steps with seed 3; it\n"
        "holds 4,567 memories.\n\n![An episode of the trained agent](episode.gif)\n\n## What it is worth\n"
    )
    assert f"| online | 12.5 | {MODES['online']} |\n| frozen | 1.250 | {MODES['frozen']} |\n" in body
    assert (
        "Evaluated beside others, 3 episodes each, memory online:\n\n"
        "| agent | mean return | 95 % interval over episodes |\n|---|---|---|\n"
        "| random | 12.5 | 10.0 to 15.5 |\n| trained | 12.5 | 10.0 to 15.5 |\n"
    ) in body
    assert "## How it was made\n\n    engram train agent=nec env=gym\n\nThe whole configuration" in body
    assert "python 3.11, torch 2.0." in body
    assert body.endswith('that one was `CartPole-v1` with the arguments `{"fast": true}`.\n')


@pytest.mark.parametrize(("score", "told"), [(0.0, 0.0), (-1.23456, -1.2346), (1.00004, 1.0)])
def test_a_card_without_video_command_evaluation_or_memory_leaves_them_out(small, score, told):
    for name in ("evaluation.json", "overrides.json"):
        (small / name).unlink()
    (small / "summary.json").write_text(
        json.dumps({"score": score, "mode": "fresh", "scores": {"fresh": score}, "episodes": 2, "steps": 5})
    )
    config = OmegaConf.load(small / "config.yaml")
    del config.env.kwargs
    OmegaConf.save(config, small / "config.yaml")
    _, front, body = card.card(small).split("---\n", 2)
    (result,) = yaml.safe_load(front)["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == told
    assert "holds 0 memories.\n\n## What it is worth" in body and "Evaluated beside" not in body
    assert "## How it was made\n\nThe whole configuration" in body and body.endswith("with the arguments `{}`.\n")
