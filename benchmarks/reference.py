"""The reference from docstrings: `python -m benchmarks.reference` writes docs/reference.md, which a test checks."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
OPENING = """# Reference

Written from the docstrings by `python -m benchmarks.reference`; a test compares it with the code.
"""
AGENTS = (
    "nec",
    "mfec",
    "episodic_continuous",
    "fast_slow",
    "go_explore",
    "ppo",
    "retrieval_ppo",
    "self_imitation_ppo",
)
"""Modules with a factory of the same name."""


class Part(NamedTuple):
    """A page of the site, a part of the reference.

    Attributes:
        title: Its heading.
        opening: A sentence or two.
        names: What is described, by module; None for all that it names in `__all__`.
    """

    title: str
    opening: str
    names: dict[str, list[str] | None]

    def described(self) -> dict[ModuleType, list[str]]:
        """The modules, imported, with their names."""
        modules = {import_module(name): names for name, names in self.names.items()}
        return {module: list(module.__all__) if names is None else names for module, names in modules.items()}


PARTS = {
    "training": Part(
        "Training from Python",
        "The command line from Python: `from engram_rl import train, evaluate, make_agent, load_agent`.",
        {
            "engram_rl.training.api": ["train", "evaluate", "make_agent", "load_agent", "make_env", "Run"],
            "engram_rl.training.single": ["SingleAgent"],
            "engram_rl.training.callbacks": ["Moment"],
            "engram_rl.training.curriculum": ["Curriculum"],
            "engram_rl.training.lessons": ["Lessons"],
            "engram_rl.training.evaluate": ["Evaluation"],
        },
    ),
    "memory": Part(
        "Memory", "Usable alone, in any loop.", {"engram_rl.memory": None, "engram_rl.memory.sharded": None}
    ),
    "gymnasium": Part(
        "Memory beside an environment",
        "Wrappers that put what is retrieved into the observation.",
        {"engram_rl.memory.gymnasium": ["MemoryWrapper", "MemoryVectorWrapper"]},
    ),
    "cores": Part(
        "Memory cores",
        "Recurrent memories behind one contract.",
        {"engram_rl.memory.cores": ["Core", "make_core", "SyntheticGradients", "VariationalMemory"]},
    ),
    "associative": Part(
        "Memories of sets",
        "A set of items is stored, and given back from parts or damaged copies; no steps, no time.",
        {"engram_rl.memory.associative": ["KanervaMemory", "EnergyMemory", "NeuralBloomFilter"]},
    ),
    "agents": Part(
        "Agents",
        "The contract, the factory of each agent, which says what its YAML may give, and schedules.",
        {
            "engram_rl.agents.agent": ["Agent", "Transition"],
            **{f"engram_rl.agents.{name}": [f"make_{name}"] for name in AGENTS},
            "engram_rl.agents.common.schedules": ["Linear"],
        },
    ),
    "envs": Part(
        "Environments",
        "A wrapper that shifts any target, schedules of when, and movers of what.",
        {"engram_rl.envs.shifting": None},
    ),
    "statistics": Part(
        "Statistics",
        "Honest figures over runs.",
        {
            "engram_rl.training.statistics": [
                "Interval",
                "interquartile_mean",
                "stratified_bootstrap",
                "performance_curve",
                "probability_of_improvement",
            ]
        },
    ),
}
"""What is described, by the name of its page on the site; the suite of environments has a page of its own."""


def page() -> str:
    """The whole page."""
    parts = [OPENING]
    for part in PARTS.values():
        parts.append(f"## {part.title}\n\n{part.opening}\n")
        parts += [_described(module, name) for module, names in part.described().items() for name in names]
    return "\n".join(parts)


def _described(module: ModuleType, name: str) -> str:
    thing = getattr(module, name)
    heading = f"### {module.__name__}.{name}\n\n"
    lines = [heading, _code(f"{name}{_signature(thing)}"), _text(thing)]
    if inspect.isclass(thing):
        lines += [_method(thing, method) for method in _methods(thing)]
    return "".join(line for line in lines if line)


def _methods(thing: type) -> list[str]:
    """Public methods and properties of its own, in the order they are written."""
    return [
        name
        for name, member in vars(thing).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property | staticmethod | classmethod))
    ]


def _method(thing: type, name: str) -> str:
    member = inspect.getattr_static(thing, name)
    if isinstance(member, property):
        return f"`{thing.__name__}.{name}`: {_first_line(member)}\n\n"
    called = getattr(thing, name)
    return _code(f"{thing.__name__}.{name}{_signature(called)}") + _text(called)


def _signature(thing: Any) -> str:
    try:
        text = str(inspect.signature(thing))
    except (ValueError, TypeError):
        return ""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    return re.sub(r"\(self(, )?", "(", re.sub(r" at 0x\w+", "", text))


def _text(thing: Any) -> str:
    doc = inspect.getdoc(thing)
    return f"{_as_markdown(doc)}\n\n" if doc else ""


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _as_markdown(doc: str) -> str:
    """Google's sections as lists."""
    lines, inside = [], False
    for line in doc.splitlines():
        if re.fullmatch(r"(Args|Returns|Raises|Attributes):", line):
            lines += ["", f"*{line.rstrip(':')}*", ""]
            inside = True
        elif inside and re.match(r"    \S", line):
            name, colon, rest = line.strip().partition(": ")
            lines.append(f"- `{name}`: {rest}" if colon else f"- {line.strip()}")
        elif inside and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return "\n".join(lines)


def _code(text: str) -> str:
    return f"```text\n{text}\n```\n\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written to {PAGE}")
