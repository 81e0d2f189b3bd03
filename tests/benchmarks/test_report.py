"""Every number between markers is what the stored results give, and a marker that asks for nonsense is quoted."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import provenance
from benchmarks.provenance import recorded
from benchmarks.report import stored
from benchmarks.report.__main__ import main, outdated
from benchmarks.report.figures import redraw
from benchmarks.report.markers import filled
from benchmarks.report.page import history, page
from benchmarks.report.paired import pairs
from engram_rl.training.errors import UsageError
from engram_rl.training.statistics import interquartile_mean

SHOWN = {"README.md": "docs/figures/", "docs/claims.md": "figures/"}
"""Pages of claims, and how they name figures."""


LEFT = {"agent": "z", "seed": 0, "score": {"10": 7.0}, "left": "2026-01-01, has other episodes today"}
"""A row of the history; the same of agent x has successors."""


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of results of our own: five runs of two agents, and an index."""
    runs = [(agent, seed, times * seed) for agent, times in (("x", 1), ("y", 2)) for seed in range(5)]
    rows = [{"agent": agent, "seed": seed, "score": {"10": score}} for agent, seed, score in runs]
    write(tmp_path / "runs.jsonl", [recorded(row | {"command": "python -m benchmarks.runs"}) for row in rows])
    write(tmp_path / "history" / "runs.jsonl", [LEFT, LEFT | {"agent": "x"}])
    (tmp_path / "index.yaml").write_text("commands: {runs: python -m benchmarks.runs}\nfigures: {}\n")
    monkeypatch.setattr(stored, "RESULTS", tmp_path)
    monkeypatch.setattr(stored, "INDEX", tmp_path / "index.yaml")
    stored.rows_of.cache_clear()
    yield tmp_path
    stored.rows_of.cache_clear()


def test_the_documentation_shows_what_the_results_hold():
    assert [path.name for path in outdated()] == []
    assert main(["check=true"]) == 0


def test_two_agents_are_compared_run_by_run(results):
    runs = [(agent, layout, float(agent == "slow") * layout) for agent in ("slow", "quick") for layout in range(12)]
    rows = [{"agent": agent, "seed": 0, "layout_seed": layout, "steps": steps} for agent, layout, steps in runs]
    write(results / "pairs.jsonl", [recorded(row) for row in rows])
    shown = [
        filled(f"<!-- report: paired pairs steps one=slow other=quick {more} --><!-- end -->")
        for more in ("", "of=less")
    ]
    assert "+5.5 [+3.2, +7.8]" in shown[0], "a mean of 5.5, a deviation of 3.6, 2.2 by Student's t"
    assert "0 of 12 [0.00, 0.26]" in shown[1], "1 - .025 ** (1 / 12)"
    with pytest.raises(UsageError, match="0 runs in common"):
        filled("<!-- report: paired runs score.10 one=x other=nobody --><!-- end -->")


def test_runs_of_a_seed_on_other_sites_are_other_runs():
    rows = [
        {
            "agent": agent,
            "seed": seed,
            "environment": {"kwargs": {"sites_seed": sites}},
            "steps": steps + 10 * sites + seed,
        }
        for agent, steps in (("slow", 3), ("quick", 0))
        for seed in range(4)
        for sites in range(3)
    ]
    found = pairs(rows, "steps", "slow", "quick")
    assert found.shape == (12, 2) and (found[:, 0] - found[:, 1] == 3).all()


def test_every_result_file_has_a_command_and_every_figure_of_a_claim_a_source():
    assert [name for name in stored.names() if not stored.commands_of(name)] == []
    sources = stored.index()["figures"]
    for page_of_claims, folder in SHOWN.items():
        text = (stored.ROOT / page_of_claims).read_text(encoding="utf-8")
        named = [f"docs/figures/{name}" for name in re.findall(rf"\]\({folder}([^)]+)\)", text)]
        assert named and [path for path in named if path not in sources] == []
    assert [path for path in sources if not (stored.ROOT / path).exists()] == []


def test_a_number_is_the_interquartile_mean_with_its_interval_of_the_rows_asked_for(results):
    marked = filled("a <!-- report: value runs score.10 agent=y as=.1f -->?<!-- end --> b")
    assert re.fullmatch(r"a <!-- report: .* -->4\.0 \(0\.0 to 8\.0\)<!-- end --> b", marked)
    assert interquartile_mean([0, 2, 4, 6, 8]) == 4.0
    assert filled(marked) == marked


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("seed agent=x of=max", "4"),
        ("seed agent=x;y of=count", "10"),
        ("score.10 agent=x seed=3 times=100 as=.0f", "300"),
        ("seed agent=x;y of=sum as=.1f", "20.0"),
    ],
)
def test_other_statistics_factors_and_filters(results, words, shown):
    assert f"-->{shown}<!--" in filled(f"<!-- report: value runs {words} --><!-- end -->")


def test_a_table_has_a_line_for_each_group_and_one_for_all(results):
    text = filled("<!-- report: rows runs by=agent columns=seed:count,score.10:max -->old<!-- end -->")
    assert "| x | 5 | 4 |" in text
    assert "| y | 5 | 8 |" in text
    assert "| all | 11 | 8 |" in text


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("value run score.10", "no results 'run'.*Did you mean runs"),
        ("value runs scores", "no value 'scores'.*Did you mean score"),
        ("value runs seed agent=w", "no row with"),
        ("value runs seed of=mode", "no statistic 'mode'"),
        ("value runs seed x", "not of the form key=value"),
        ("tabel runs", "no kind 'tabel'"),
    ],
)
def test_a_marker_that_asks_for_what_is_not_there_is_quoted(results, marker, message):
    with pytest.raises(UsageError, match=f"<!-- report: {marker} -->.*{message}"):
        filled(f"<!-- report: {marker} --><!-- end -->")


def test_the_page_names_command_and_commit_of_what_stands(results):
    text = page()
    assert "10 rows, measured at " in text
    assert all(f"    {row['command']}\n" in text for row in stored.lines_of("runs"))


def test_what_does_not_stand_is_on_a_page_of_its_own_with_the_reason(results):
    text = history()
    assert "    python -m benchmarks.runs\n" in text
    assert re.search(r"2 rows, recorded in (unknown|not committed|[0-9a-f]{7})", text)
    assert "- 2 left on 2026-01-01, has other episodes today" in text


def test_a_figure_of_the_history_is_marked_and_only_shown_where_nothing_newer_is(results):
    assert "-->7†<!--" in filled("<!-- report: value runs score.10 agent=z -->?<!-- end -->")
    assert "-->4<!--" in filled("<!-- report: value runs score.10 agent=x of=max -->?<!-- end -->")
    table = filled("<!-- report: rows runs by=agent columns=seed:count -->old<!-- end -->")
    assert "| z † | 1 |" in table and "| x | 5 |" in table


def test_figures_are_drawn_from_rows(results, tmp_path, monkeypatch):
    rows = next((stored.ROOT / "docs" / "results").rglob("control_cartpole_nec.jsonl"))
    (results / "curve.jsonl").write_text(rows.read_text())
    how = "figures: {curve.png: {kind: control, rows: curve}, slow.png: {command: python -c 1/0}}\n"
    (results / "index.yaml").write_text(f"commands: {{}}\n{how}")
    monkeypatch.setattr("benchmarks.report.figures.ROOT", tmp_path)
    assert [path.name for path in redraw(measure=False)] == ["curve.png"]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_does_not_say_where_the_checkout_lies():
    root = Path(provenance.__file__).resolve().parents[1]
    said = f"In your code, at {root}/benchmarks/worlds/measure.py, line 153"
    row = provenance.recorded({"said": said, "parts": [{"at": f"{root}/a.py"}], "value": 3.5, "on": True})
    assert row["said"] == "In your code, at benchmarks/worlds/measure.py, line 153"
    assert row["parts"] == [{"at": "a.py"}] and (row["value"], row["on"]) == (3.5, True)
    assert provenance.complete(row) and str(root) not in str(row["command"])
