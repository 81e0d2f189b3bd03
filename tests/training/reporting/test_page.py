"""A run as a page and as a card: what they say is what the run's files say, escaped, and a browser shows it."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from engram_rl.training import train
from engram_rl.training.errors import UsageError
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
