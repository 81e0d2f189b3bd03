"""The documentation as a site, with the API from docstrings and a search: hooks of `mkdocs.yml`.

    mkdocs build --strict        # into site/ (extra `docs`); warnings are errors
    mkdocs serve                 # on http://127.0.0.1:8000, rebuilt as pages change

The pages are those of `docs/`, which GitHub shows as well; here the README becomes the first page, and pages of the API
are added, one for each package, with every public name.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Package(NamedTuple):
    """A page of the API."""

    title: str
    opening: str
    modules: dict[str, list[str]]


def public(module: str) -> dict[str, list[str]]:
    """Everything that a module names in `__all__`."""
    return {module: list(import_module(module).__all__)}


def agents() -> dict[str, list[str]]:
    """The contract of agents, their factories, and what configures them."""
    named = {f"engram_rl.agents.{name}": [f"make_{name}"] for name in AGENTS}
    return {"engram_rl.agents.agent": ["Agent", "Transition"], **named, "engram_rl.agents.common.schedules": ["Linear"]}


AGENTS = ("nec", "mfec", "fast_slow", "ppo", "retrieval_ppo", "self_imitation_ppo")
"""Modules with a factory of the same name."""

PACKAGES = {
    "training": Package(
        "Training from Python",
        "The command line from Python: `from engram_rl import train, evaluate, make_agent, load_agent`.",
        {
            "engram_rl.training.api": ["train", "evaluate", "make_agent", "load_agent", "make_env", "Run"],
            "engram_rl.training.single": ["SingleAgent"],
            "engram_rl.training.callbacks": ["Moment", "Callback"],
            "engram_rl.training.evaluate": ["Evaluation"],
            "engram_rl.training.statistics": [
                "Interval",
                "interquartile_mean",
                "stratified_bootstrap",
                "performance_curve",
            ],
        },
    ),
    "memory": Package("Memory", "Usable alone, in any loop.", public("engram_rl.memory")),
    "gymnasium": Package("Memory beside an environment", "Wrappers.", public("engram_rl.memory.gymnasium")),
    "cores": Package("Memory cores", "Recurrent memories behind one contract.", public("engram_rl.memory.cores")),
    "agents": Package("Agents", "The contract, and the factory of each agent: what its YAML may say.", agents()),
    "envs": Package(
        "Environments", "A wrapper that shifts any target, schedules and movers.", public("engram_rl.envs")
    ),
}
"""Pages of the API, by file name."""

OUTSIDE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages that lie outside of `docs/`."""

MOVED = {path: page for page, path in OUTSIDE.items()} | {"reference.md": "api/memory.md"}
"""Where a link of the repository leads on the site."""

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<path>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")
MARKER = re.compile(r"<!--.*?-->", re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not lie in `docs/`."""
    from mkdocs.structure.files import File

    texts = {page: (ROOT / path).read_text(encoding="utf-8") for page, path in OUTSIDE.items()}
    texts |= {f"api/{name}.md": api_page(package) for name, package in PACKAGES.items()}
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links of the repository lead to pages of the site; what is no page is named without a link."""
    here = page.file.src_uri
    from_root = here in OUTSIDE
    return LINK.sub(lambda link: _led(link, here, from_root, files), MARKER.sub("", markdown))


def api_page(package: Package) -> str:
    """The source of a page of the API: mkdocstrings writes what the docstrings say."""
    lines = [f"# {package.title}", "", package.opening, ""]
    for module, names in package.modules.items():
        lines += [line for name in names for line in (f"::: {module}.{name}", "")]
    return "\n".join(lines)


def _led(link: re.Match[str], here: str, from_root: bool, files: Any) -> str:
    path, anchor = link["path"].removeprefix("../"), link["anchor"] or ""
    target = MOVED.get(path, path.removeprefix("docs/") if from_root else path)
    if files.get_file_from_path(target) is None:
        return str(link["text"])
    return f"{link['image']}[{link['text']}]({'../' * here.count('/')}{target}{anchor})"
