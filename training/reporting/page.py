"""A run as one HTML page that needs nothing beside it: what was asked, what came of it, curves, video, memory.

  engram report run=latest              the newest run; written to its folder as report.html
  engram report run=runs/<folder>       another
  engram report run=latest out=a.html   somewhere else

The page holds its pictures, so it can be mailed or put on a web page. `engram evaluate run=...` beforehand adds the
table of the trained agent beside a random and an untrained one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from engram_rl.training.evaluation import MODES
from engram_rl.training.legacy import metrics_today
from engram_rl.training.logging.closing import between, shown
from engram_rl.training.logging.logger import read_metrics
from engram_rl.training.reporting import charts
from engram_rl.training.reporting.settings import Described, describe
from engram_rl.training.reporting.words import write_text_of
from engram_rl.training.runs.folder import read_object
from engram_rl.training.runs.naming import shell

REPORT = "report.html"
VIDEOS = {
    "episode.mp4": "the trained agent at the end of training",
    "episode.gif": "the trained agent at the end of training",
    "evaluation.gif": "in the last evaluation",
}
"""Files of a run folder that are shown, and what they are."""

STYLE = """
:root { color-scheme: light; --line: #d9dee5; --dim: #5b6673; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c232b; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.dim, figcaption, dt { color: var(--dim); } figure { margin: .5rem 0; } img, video { max-width: 100%; }
dl { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
dl div { border: 1px solid var(--line); border-radius: 6px; padding: .4rem .9rem; }
dt { font-size: .8rem; } dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th { font-weight: 600; text-align: left; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); } td + td { text-align: right; }
th + th { text-align: right; }
pre { background: #f5f7f9; border: 1px solid var(--line); border-radius: 6px; padding: .7rem; overflow-x: auto; }
pre { font-size: 13px; }
.pair { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page of the run that the command line names."""
    if out := write_text_of(arguments, __doc__, REPORT, page):
        print(f"Report: {out} (open it in a browser)")
    return 0


def page(folder: Path) -> str:
    """The whole page of a run, also of one that has not ended.

    Args:
        folder: Its folder; nothing that it names is built, and everything is escaped.
    """
    run = describe(folder)
    title = f"{run.agent} on {run.env}, seed {run.seed}"
    sections = [
        part for make in (_learning, _evaluation, _videos, _memory, _curves, _made_with, _on) for part in make(run)
    ]
    body = "\n".join([f"<h1>{escape(title)}</h1>", *_head(run), *sections])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def evaluation_of(folder: Path) -> dict[str, Any]:
    """What `engram evaluate` wrote to a run folder; empty where it was not run."""
    return read_object(folder / "evaluation.json")


def last_metrics(folder: Path) -> dict[str, float]:
    """The last value of every curve of a run, by name."""
    last: dict[str, float] = {}
    for row in read_metrics(folder):
        last |= metrics_today(row)
    return last


def _head(run: Described) -> Iterator[str]:
    named = [str(run.path), run.name, *run.tags]
    yield f'<p class="dim">{escape(" · ".join(filter(None, named)))}</p>'
    if error := run.summary.get("error"):
        yield f"<p><strong>The run ended in an error:</strong></p><pre>{escape(str(error))}</pre>"
    elif not run.summary:
        yield "<p><strong>The run has not ended.</strong></p>"
    facts: dict[str, str] = {}
    for mode, score in run.summary.get("scores", {}).items():
        facts[f"score, {mode}"] = shown(score)
    steps, seconds = run.summary.get("steps"), run.summary.get("seconds")
    facts["steps"] = f"{steps:,}" if steps else "?"
    facts["episodes"] = f"{len(run.episodes()):,}"
    facts["took"] = f"{seconds:.0f} s" if seconds else "?"
    if entries := run.summary.get("memory_entries"):
        facts["memories"] = f"{entries:,}"
    yield "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>"
    modes = {mode: MODES[mode] for mode in run.summary.get("scores", {}) if mode in MODES}
    if modes:
        yield f'<p class="dim">{escape("; ".join(f"{mode}: {told}" for mode, told in modes.items()))}.</p>'


def _learning(run: Described) -> Iterator[str]:
    yield "<h2>Learning</h2>"
    yield _picture(charts.learning_curve(run.path), "The return of each episode of training")


def _evaluation(run: Described) -> Iterator[str]:
    found = evaluation_of(run.path)
    if not found:
        return
    yield f"<h2>Evaluation</h2><p>{found['episodes']} episodes each, memory {escape(str(found['memory']))}.</p>"
    rows = [
        (
            name,
            shown(one["mean"]),
            between(one["interval"]),
            shown(min(one["returns"])),
            shown(max(one["returns"])),
        )
        for name, one in found["agents"].items()
    ]
    yield _table(("agent", "mean return", "95 % interval", "worst", "best"), rows)


def _videos(run: Described) -> Iterator[str]:
    present = {name: told for name, told in VIDEOS.items() if (run.path / name).exists()}
    if "episode.mp4" in present:
        present.pop("episode.gif", None)
    if not present:
        return
    yield '<h2>An episode</h2><div class="pair">'
    for name, told in present.items():
        content = _encoded((run.path / name).read_bytes())
        if name.endswith(".mp4"):
            shown_as = f'<video controls loop muted autoplay src="data:video/mp4;base64,{content}"></video>'
        else:
            shown_as = f'<img alt="{escape(told)}" src="data:image/gif;base64,{content}">'
        yield f"<figure>{shown_as}<figcaption>{escape(told)}</figcaption></figure>"
    yield "</div>"


def _memory(run: Described) -> Iterator[str]:
    last = {name: value for name, value in last_metrics(run.path).items() if name.startswith("memory/")}
    picture, count = charts.memory(run.path)
    if not last and not picture:
        return
    yield "<h2>What it remembers</h2>"
    if picture:
        yield _picture(picture, f"{count:,} entries by their keys, each a dot")
    yield _table(("at the end", "value"), [(name, f"{value:.4g}") for name, value in sorted(last.items())])


def _curves(run: Described) -> Iterator[str]:
    if drawn := charts.curves(run.path):
        yield "<h2>Other curves</h2>"
        yield _picture(drawn, "Means over each interval between two points")


def _made_with(run: Described) -> Iterator[str]:
    yield "<h2>What was asked</h2>"
    if run.given:
        yield f"<pre>{escape(command_of(run))}</pre>"
    config = OmegaConf.to_yaml(run.config)
    yield f"<details><summary>The whole configuration</summary><pre>{escape(config)}</pre></details>"
    if versions := run.summary.get("versions"):
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield f'<p class="dim">{escape(told)}</p>'


def _on(run: Described) -> Iterator[str]:
    path = run.path
    more = 2 * int(run.summary.get("steps") or run.config.get("steps", 0))
    lines = [
        shell("engram", "evaluate", f"run={path}", "episodes=100"),
        shell("engram", "train", f"resume={path}", f"steps={more}"),
        shell("tensorboard", "--logdir", path),
    ]
    yield "<h2>Go on</h2><pre>" + escape("\n".join(lines)) + "</pre>"


def command_of(run: Described) -> str:
    """The command line that began a run."""
    return shell("engram", "train", *run.given)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _picture(svg: str, caption: str) -> str:
    source = f"data:image/svg+xml;base64,{_encoded(svg.encode())}"
    return f'<figure><img alt="{escape(caption)}" src="{source}"><figcaption>{escape(caption)}</figcaption></figure>'


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
