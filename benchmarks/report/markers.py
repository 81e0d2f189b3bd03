"""Figures in a text, each between two comments that say where it comes from.

`<!-- report: value FILE FIELD [key=value ...] -->1.13<!-- end -->` is a number: of those rows of
`docs/results/FILE.jsonl` that have these values, the interquartile mean of FIELD with its 95 % interval, or the value
itself where one row is left. Besides: `as=` a format (`.3g`), `of=` another statistic (mean, median, min, max, sum,
count), `times=` a factor.

`paired FILE FIELD one=AGENT other=AGENT` is how much more the first takes on the runs that both have, on average, with
the 95 % interval of the mean; with `of=less` in how many of them it takes less, with the exact interval of that share.

A figure of rows that no longer stand (`docs/results/history`) is marked †, and so are agents in tables.

`<!-- report: control FILE [key=value ...] -->`, `continuous`, `shift`, `adaptation`, `partial`, `recurrent`,
`exploration` and `rows` are the table of a benchmark, on lines of its own; `rows FILE by=FIELD
columns=FIELD:STATISTIC,...` has a line for each value of a field, and one for all unless `all=no`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.adaptation.report import acted
from benchmarks.adaptation.report import grouped as grouped_by_agent
from benchmarks.adaptation.report import table as adaptation_table
from benchmarks.continuous.report import markdown as continuous_table
from benchmarks.control.report import grouped
from benchmarks.control.report import table as control_table
from benchmarks.exploration.report import table as exploration_table
from benchmarks.partial import table as partial_table
from benchmarks.recurrent import table as recurrent_table
from benchmarks.report.paired import difference, pairs, share
from benchmarks.report.stored import MARK, field, marked, rows_of, select
from benchmarks.runs import Row
from benchmarks.shift.report import is_published_setting
from benchmarks.shift.report import table as shift_table
from benchmarks.shift.results import entrants
from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.statistics import stratified_bootstrap

MARKER = re.compile(r"<!-- report: (?P<spec>.*?) -->(?P<shown>.*?)<!-- end -->", re.DOTALL)
STATISTICS: dict[str, Callable[[np.ndarray], Any]] = {
    "mean": np.mean,
    "median": np.median,
    "min": np.min,
    "max": np.max,
    "sum": np.sum,
    "count": len,
}


def filled(text: str) -> str:
    """The text with every figure between markers as the stored results give it.

    Raises:
        UsageError: A marker asks for what is not there; it is quoted.
    """
    return MARKER.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    spec = match["spec"]
    try:
        kind, name, *words = shlex.split(spec)
        if kind not in KINDS:
            raise UsageError(f"There is no kind {kind!r}. {did_you_mean(kind, KINDS)}")
        result = KINDS[kind](rows_of(name), words)
    except ValueError as error:
        raise UsageError(f"In <!-- report: {spec} -->: {error}") from error
    around = "\n" if "\n" in result else ""
    return f"<!-- report: {spec} -->{around}{result}{around}<!-- end -->"


def value(rows: Sequence[Row], words: Sequence[str]) -> str:
    """One figure; the first word is the field."""
    path, *rest = words
    options, filters = _options(rest, ("as", "of", "times"))
    among = select(rows, filters)
    chosen = [one for one in (field(row, path) for row in among) if one is not None]
    if not chosen:
        raise UsageError(f"no row with {filters} has a value {path!r}")
    values = np.array(chosen, dtype=np.float64) * float(options.get("times", 1))
    form, mark = options.get("as", ".3g"), MARK if any("left" in row for row in among) else ""
    if "of" in options:
        return format(_statistic(options["of"])(values), form) + mark
    return format(values[0] if len(values) == 1 else stratified_bootstrap(values), form) + mark


def paired(rows: Sequence[Row], words: Sequence[str]) -> str:
    """Two agents on the same runs; the first word is the field."""
    path, *rest = words
    options, filters = _options(rest, ("one", "other", "of", "as"))
    if not {"one", "other"} <= options.keys():
        raise UsageError("paired needs one=AGENT and other=AGENT")
    chosen = select(rows, filters)
    found = pairs(chosen, path, options["one"], options["other"])
    mark = MARK if any("left" in row for row in chosen if row["agent"] in (options["one"], options["other"])) else ""
    if options.get("of") == "less":
        count = int((found[:, 0] < found[:, 1]).sum())
        low, high = share(count, len(found))
        return f"{count} of {len(found)} [{low:.2f}, {high:.2f}]{mark}"
    more, least, most = (format(one, options.get("as", "+.1f")) for one in difference(found))
    return f"{more} [{least}, {most}]{mark}"


def control(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table of `benchmarks.control`."""
    _, filters = _options(words, ())
    return control_table(grouped(marked(select(rows, filters))))


def shift(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table of `benchmarks.shift`."""
    _, filters = _options(words, ())
    chosen = marked(select(rows, filters))
    return shift_table(entrants(chosen), quote_published=is_published_setting(chosen[0]))


def partial(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table of `benchmarks.partial`."""
    _, filters = _options(words, ())
    return partial_table(marked(select(rows, filters)))


def exploration(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table of `benchmarks.exploration`."""
    _, filters = _options(words, ())
    return exploration_table(marked(select(rows, filters)))


def adaptation(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table of `benchmarks.adaptation`, of drawn actions."""
    _, filters = _options(words, ())
    return adaptation_table(grouped_by_agent(acted(marked(select(rows, filters)), "drawn")))


def continuous(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table of `benchmarks.continuous`."""
    _, filters = _options(words, ())
    return continuous_table(marked(select(rows, filters)))


def recurrent(rows: Sequence[Row], words: Sequence[str]) -> str:
    """The table of `benchmarks.recurrent`."""
    _, filters = _options(words, ())
    return recurrent_table(marked(select(rows, filters)))


def lines(rows: Sequence[Row], words: Sequence[str]) -> str:
    """A line for each value of the field `by`, with statistics of the fields in `columns`, and one for all rows."""
    options, filters = _options(words, ("by", "columns", "as", "all"))
    chosen = marked(select(rows, filters))
    columns = [column.rpartition(":")[::2] for column in options["columns"].split(",")]
    groups: dict[str, list[Row]] = {}
    for row in chosen:
        groups.setdefault(str(field(row, options["by"])), []).append(row)
    if options.get("all") != "no":
        groups["all"] = list(chosen)
    body = [
        [name, *(_cell(group, path, statistic, options.get("as", ".4g")) for path, statistic in columns)]
        for name, group in groups.items()
    ]
    header = [options["by"], *(path.replace("_", " ") for path, _ in columns)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *body])


KINDS: dict[str, Callable[[Sequence[Row], Sequence[str]], str]] = {
    "value": value,
    "paired": paired,
    "adaptation": adaptation,
    "continuous": continuous,
    "control": control,
    "exploration": exploration,
    "partial": partial,
    "recurrent": recurrent,
    "shift": shift,
    "rows": lines,
}


def _cell(rows: Sequence[Row], path: str, statistic: str, form: str) -> str:
    values = [field(row, path) for row in rows]
    numbers = np.array([len(one) if isinstance(one, list) else one for one in values], dtype=np.float64)
    return format(_statistic(statistic)(numbers), form)


def _statistic(name: str) -> Callable[[np.ndarray], Any]:
    if name not in STATISTICS:
        raise UsageError(f"there is no statistic {name!r}. {did_you_mean(name, STATISTICS)}")
    return STATISTICS[name]


def _options(words: Sequence[str], known: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What steers the figure, and which rows it is of."""
    given = dict(_pair(word) for word in words)
    return {key: given.pop(key) for key in known if key in given}, given


def _pair(word: str) -> tuple[str, str]:
    key, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"{word!r} is not of the form key=value")
    return key, text
