"""What the rows of environments on workers come to: a line for each way, agent and series of kills."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.cluster.measure import Way
from benchmarks.runs import Row

CAPTION = (
    "Ways of one row are timed in turns; `ratio` is the median over the turns of its steps a second over those of the "
    "first, `load` how many processes wanted a processor when it was measured. Steps wait and need none."
)
HEAD = ("what", "way", "steps/s", "ms a vector step", "ratio", "limit", "holds", "load")


def lines(rows: Sequence[Row]) -> list[list[str]]:
    """Lines as `HEAD` has them."""
    found: list[list[str]] = []
    for row in rows:
        holds = {None: "", True: "yes", False: "no"}[row["holds"]]
        end = ["" if row["limit"] is None else f">= {row['limit']:g}", holds, str(row["load"])]
        if row["kind"] in ("timed", "pace"):
            found += _timed(row, end)
        elif row["kind"] == "equal":
            said = f"{row['episodes']} episodes; differs: {', '.join(row['differences']) or 'nothing'}"
            found.append([row["name"], said, "", "", "", *end])
        elif row["kind"] == "shards":
            found += _sharded(row, end)
        elif row["kind"] == "learning":
            found.append(_learned(row, end))
        elif row["kind"] == "actors":
            said = f"{row['lost_episodes']} open episodes lost ({row['most_allowed']} at most), trained to the end"
            found.append([row["name"], said, "", "", "", *end])
        elif row["kind"] == "driver":
            said = f"{row['left_processes']} processes left, {row['differing_runs']} runs differ after going on"
            found.append([row["name"], said, "", "", "", *end])
        else:
            said = f"{row['lost_episodes']} open episodes lost ({row['most_allowed']} at most)"
            said += f", {row['wrong_observations']} wrong observations, longest step {row['longest_step_s']} s"
            found.append([row["name"], said, "", "", "", *end])
    return found


def markdown(rows: Sequence[Row]) -> str:
    """The table with its caption, and on what it was measured."""
    table = [HEAD, ["---"] * len(HEAD), *lines(rows)]
    measured = sorted({f"{row['cpu']}, {row['date'][:10]}, commit {row['commit']}" for row in rows})
    return "\n".join([CAPTION, "", *(f"| {' | '.join(line)} |" for line in table), "", f"On {'; '.join(measured)}."])


def _timed(row: Row, end: Sequence[str]) -> list[list[str]]:
    """A line for each way; the limit is that of the last."""
    found = []
    figures = zip(row["steps_per_second"], row["vector_step_ms"], row["ratios"], strict=True)
    for number, (way, (rate, took, ratio)) in enumerate(zip(row["ways"], figures, strict=True)):
        last = number == len(row["ways"]) - 1
        name = row["name"] if not number else ""
        found.append([name, str(Way(**way)), f"{rate:g}", f"{took:g}", f"{ratio:g}", *(end if last else ("", "", ""))])
    return found


def _sharded(row: Row, end: Sequence[str]) -> list[list[str]]:
    """A line for each memory: of lookups of 32 queries, and by how much they are faster than of one memory."""
    found = []
    for number, (shards, took, rate) in enumerate(
        zip(row["shards"], row["lookup_ms"], row["queries_per_second"], strict=True)
    ):
        last = number == len(row["shards"]) - 1
        what = f"{shards} shard{'s' if shards != 1 else ''}" if number else shards
        said = f"{what}: {rate:,} queries/s, a write of 32 rows {row['write_ms'][number]:g} ms"
        said += f"; values differ by {row['largest_difference']:.0e} at most" if last else ""
        ratio = f"{row['lookup_ms'][0] / took:.2f}"
        name = row["name"] if not number else ""
        found.append([name, said, "", f"{took:g}", ratio, *(end if last else ("", "", ""))])
    return found


def _learned(row: Row, end: Sequence[str]) -> list[str]:
    """The difference of actors and one process, with its interval and the bound."""
    means = {name: sum(each) / len(each) for name, each in row["returns"].items()}
    low, high = row["interval_90"]
    said = f"{means['actors']:.3g} with actors, {means['one']:.3g} in one process: {row['difference']:+.3g} "
    said += f"[{low:+.3g}, {high:+.3g}], {len(row['returns']['one'])} seeds, bound {row['bound']:g}; "
    said += f"{row['steps_behind'][0]} steps behind, {row['steps_behind'][1]} at most"
    return [row["name"], said, "", "", "", *end]
