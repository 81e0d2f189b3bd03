"""A row stands while it is as it was written and its run gives the same episodes; else it is history."""

import json
from dataclasses import asdict, replace

import pytest

from benchmarks import again, code, fingerprint, provenance, stale
from benchmarks.again import doubt, repeated
from benchmarks.control.measure import measure
from benchmarks.control.runs import resolve
from benchmarks.cores import measure as cores
from benchmarks.cores.measure import CoreRun
from benchmarks.fingerprint import EnoughSeenError, Trace, fingerprint_of, watched
from benchmarks.provenance import complete, sealed
from benchmarks.report import stored
from benchmarks.report.stored import RESULTS
from benchmarks.runs import append_row, carry_out, read_rows
from engram_rl.training.errors import UsageError
from engram_rl.training.seeding import use_threads

STEPS = 40
ORIGIN = {"commit": "0123456789ab", "dirty": False, "cpu": "one", "date": "2026-01-01T00:00:00", "versions": {}}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Fingerprints of few steps, and a command and an origin of a benchmark."""
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "benchmarks.control", "env=CartPole-v1", "out=x"])
    monkeypatch.setattr(provenance, "origin", lambda: ORIGIN)
    monkeypatch.setattr(again, "origin", lambda: ORIGIN)
    monkeypatch.setattr(stale, "origin", lambda: ORIGIN)
    monkeypatch.setattr(fingerprint.Trace.__init__, "__defaults__", (False, STEPS))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of results of our own."""
    monkeypatch.setattr(stored, "RESULTS", tmp_path)
    monkeypatch.setattr(stored, "INDEX", tmp_path / "index.yaml")
    (tmp_path / "index.yaml").write_text("commands: {}\nfigures: {}\n")
    stored.rows_of.cache_clear()
    yield tmp_path
    stored.rows_of.cache_clear()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Two rows of runs, in file order, written under the patches above by the first test that asks."""
    return tmp_path_factory.mktemp("rows") / "control.jsonl"


AGENT = "ppo num_steps=8 minibatch_size=16 hidden=[8]"


def runs(seeds=(0, 1), agent=AGENT, steps=4 * STEPS):
    return resolve("CartPole-v1", {"num_envs": 2}, [agent], seeds, steps)


@pytest.fixture
def row(rows):
    if not rows.exists():
        assert carry_out(runs(), measure, rows, workers=1, progress=False) == {}
    return json.loads(rows.read_text().splitlines()[0])


# How a row came about


def test_every_row_says_how_it_came_about(row):
    assert row.items() >= ORIGIN.items()
    assert row["command"] == "python -m benchmarks.control env=CartPole-v1"
    assert row["seconds"] > 0 and row["rests_on"] == ["benchmarks.control"]
    assert complete(row) and doubt(row) is None


@pytest.mark.parametrize(
    "change",
    [
        {"auc": 500.0},
        {"commit": "ffffffffffff"},
        {"dirty": True},
        {"note": "by hand"},
        {"fingerprint": "0" * 16},
    ],
)
def test_a_change_by_hand_breaks_the_seal(row, change):
    assert not complete(row | change)
    assert doubt(row | change).why == "was changed after it was written"


def test_a_row_written_by_hand_does_not_count_as_measured(row, tmp_path, capsys):
    out, (run,) = tmp_path / "rows.jsonl", runs(seeds=[0])
    append_row(out, {"key": run.key, "agent": AGENT, "auc": 500.0})
    append_row(out, row | {"auc": 500.0})
    measured = []
    assert carry_out([run], lambda one: measured.append(one) or measure(one), out, 1, progress=False) == {}
    assert measured == [run]
    assert "2 rows" in capsys.readouterr().err
    assert [complete(json.loads(line)) for line in out.read_text().splitlines()] == [False, False, True]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dirty": True}, "in no commit"),
        ({"commit": ""}, "in no commit"),
        ({"command": "python -c 'print(1)'"}, "by no command of benchmarks"),
        ({"tiny": True}, "test of the benchmark"),
        ({"ok": False}, "misses its limit"),
        ({"settings": {}}, "other settings"),
    ],
)
def test_what_a_row_says_of_itself_may_be_reason_enough(row, change, why, monkeypatch):
    found = doubt(sealed(row | change))
    assert why in found.why
    assert found.moves == ("ok" not in change)


def test_a_row_of_before_is_named_as_such(row):
    assert "does not say how it came about: no commit, dirty" in doubt({"key": "a", "agent": "nec"}).why


def test_every_stored_row_says_how_it_came_about_and_is_as_it_was_written():
    for path in sorted(RESULTS.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = doubt(json.loads(line), run=False)
            assert found is None or not found.moves, f"{path.name}:{number}: {found.why} (python -m benchmarks.stale)"


def test_every_row_of_the_history_says_why():
    lines = [line for path in (RESULTS / "history").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert all(json.loads(line)["left"] for line in lines)


# The same episodes


def test_the_fingerprint_of_a_row_is_that_of_its_run_taken_again(row):
    (run,) = runs(seeds=[0])
    assert repeated(row) == run
    assert fingerprint_of(run, measure) == row["fingerprint"]


def test_other_seeds_agents_and_settings_have_other_fingerprints(row):
    others = [runs(seeds=[5]), runs(seeds=[0], agent=f"{AGENT} learning_rate=0.5"), runs(seeds=[0], agent="mfec")]
    marks = [fingerprint_of(run, measure) for (run,) in others]
    assert len({row["fingerprint"], *marks}) == 4


def test_a_longer_run_of_the_same_has_the_same(row):
    (longer,) = runs(seeds=[0], steps=100 * STEPS)
    assert fingerprint_of(longer, measure) == row["fingerprint"]


def test_it_does_not_depend_on_the_threads_of_the_machine(row):
    (run,) = runs(seeds=[0])
    try:
        use_threads(2)
        assert fingerprint_of(run, measure) == row["fingerprint"]
    finally:
        use_threads(1)


def test_a_trace_takes_in_its_steps_and_no_more():
    whole, stopping = Trace(steps=2), Trace(stops=True, steps=2)
    for number in range(5):
        whole.take(number, 0.0, False, {"a": [1], "b": ("x", 2.0)})
    with watched(stopping), pytest.raises(EnoughSeenError):
        for number in range(5):
            fingerprint.note(number, 0.0, False, {"b": ("x", 2.0), "a": [1]})
    assert stopping.steps == whole.steps == 2 and stopping.fingerprint == whole.fingerprint


def test_code_that_has_not_changed_is_believed(row, monkeypatch):
    monkeypatch.setattr(again, "fingerprint_of", lambda *_: pytest.fail("was run"))
    assert doubt(row) is None


def test_code_that_has_changed_is_judged_by_its_episodes(row):
    older = sealed(row | {"code": "0" * 16})
    assert doubt(older) is None
    assert doubt(sealed(older | {"fingerprint": "0" * 16})).why == "has other episodes today"
    elsewhere = doubt(sealed(older | {"fingerprint": "0" * 16, "cpu": "another"}))
    assert "also cpu" in elsewhere.why and not elsewhere.moves


def test_rows_without_episodes_are_of_the_code_that_they_measured(row):
    times = {name: row[name] for name in provenance.FIELDS}
    assert doubt(sealed(times)) is None
    assert doubt(sealed(times | {"code": "0" * 16})).why == "is older than the code that it measures"


def test_an_agent_that_is_gone_cannot_be_run(row):
    assert "cannot be run today: There is no agent 'nexus'" in doubt(sealed(row | {"agent": "nexus"})).why


# Which code


def test_code_is_what_a_module_imports_without_comments_and_docstrings(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "ROOT", tmp_path)
    for path, text in {
        "memory/a.py": "from engram_rl.memory import b\n",
        "memory/b.py": "x = 1\n",
        "memory/c.py": "x = 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)

    def now():
        for kept in (code.code_of, code._names, code._essence):
            kept.cache_clear()
        return code.code_of(("engram_rl.memory.a",))

    try:
        first = now()
        (tmp_path / "memory/c.py").write_text("x = 2\n")
        (tmp_path / "memory/b.py").write_text('"""Of b."""\n\nx  =  1  # one\n"""Of x."""\n')
        assert now() == first
        (tmp_path / "memory/b.py").write_text("x = 2\n")
        assert now() != first
    finally:
        for kept in (code.code_of, code._names, code._essence):
            kept.cache_clear()


def test_what_is_built_by_name_may_be_any_agent():
    names = {path.relative_to(code.ROOT).as_posix() for path in code._imported("benchmarks.control")}
    assert {"agents/nec.py", "conf/agent/nec.yaml", "benchmarks/shift/environment.py", "memory/dictionary.py"} <= names
    assert not {"benchmarks/runs.py", "benchmarks/control/report.py", "benchmarks/limits.py"} & names
    alone = {path.relative_to(code.ROOT).as_posix() for path in code._imported("engram_rl.memory.cores.gru")}
    assert "memory/cores/core.py" in alone and "memory/cores/dnc.py" not in alone


# The command


def test_the_command_lists_moves_and_fails_until_everything_stands(row, results, capsys):
    stale_one = sealed(row | {"code": "0" * 16, "fingerprint": "0" * 16, "agent": "mfec"} | {"key": "0" * 16})
    (results / "control.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (row, stale_one)))
    assert stale.main(["run=false"]) == 0
    assert stale.main([]) == 1
    said = capsys.readouterr().out
    assert "control: CartPole-v1 mfec: 1 row: has other settings today" in said
    assert "python -m benchmarks.control env=CartPole-v1 out=docs/results/control.jsonl" in said
    assert stale.main(["move=true", "run=false"]) == 0
    assert stale.main(["move=true"]) == 1
    assert "\n1 rows have" in capsys.readouterr().out
    assert read_rows(results / "control.jsonl") == [row]
    (left,) = stored.history_of("control")
    assert left["left"] == "2026-01-01, has other settings today"
    capsys.readouterr()
    assert stale.main(["run=false"]) == 1
    assert "1 row in the history only" in capsys.readouterr().out


def test_a_missed_limit_stays_where_it_is_and_fails(row, results, capsys):
    (results / "control.jsonl").write_text(json.dumps(sealed(row | {"ok": False})) + "\n")
    assert stale.main(["move=true", "run=false"]) == 1
    assert "misses its limit (ok: false)" in capsys.readouterr().out
    assert not (results / "history").exists()


def test_a_new_row_of_the_same_takes_the_place_of_the_history(row, results):
    history = results / "history" / "control.jsonl"
    history.parent.mkdir()
    history.write_text(json.dumps(row | {"left": "2026-01-01, has other episodes today"}) + "\n")
    assert [one["left"] for one in stored.rows_of("control")] == ["2026-01-01, has other episodes today"]
    stored.rows_of.cache_clear()
    (results / "control.jsonl").write_text(json.dumps(row) + "\n")
    assert ["left" in one for one in stored.rows_of("control")] == [False]


def test_an_unknown_environment_of_a_row_is_refused(row):
    with pytest.raises(UsageError, match="no environment"):
        repeated(row | {"env": "CartPole-v99"})


# The same first updates


def test_a_core_that_learns_is_known_by_the_losses_of_its_first_updates(monkeypatch):
    run, drawn = CoreRun("delta", "retrieval", 0, {}, ">= 0.98"), []
    task = cores.TASKS["retrieval"]
    watching = replace(task, draw=lambda *given: drawn.append(given) or task.draw(*given))
    monkeypatch.setitem(cores.TASKS, "retrieval", watching)
    mark = fingerprint_of(run, cores.measure)
    assert len(drawn) == 1 + cores.FINGERPRINT + 1  # one that shows the sizes, one with which it would go on
    assert fingerprint_of(run, cores.measure) == mark
    others = [replace(run, seed=1), replace(run, core="gated_delta"), replace(run, task="recall_first")]
    assert len({mark, *(fingerprint_of(one, cores.measure) for one in others)}) == 4


def test_a_row_of_a_core_is_repeated_from_what_it_says():
    run = CoreRun("gru", "recall_first", 3, {}, ">= 0.99", tiny=True)
    row = asdict(run) | {"command": "python -m benchmarks.cores seeds=1"}
    assert repeated(row) == run
