"""The reference from docstrings: `python -m benchmarks.reference` writes docs/reference.md, which a test checks."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from engram_rl import memory
from engram_rl.agents import agent
from engram_rl.memory import gymnasium

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
OPENING = """# Reference

Written from the docstrings by `python -m benchmarks.reference`; a test compares it with the code.
"""
MODULES: dict[ModuleType, list[str]] = {
    memory: memory.__all__,
    gymnasium: ["MemoryWrapper", "MemoryVectorWrapper"],
    agent: ["Agent", "Transition"],
}
"""What is described, by module; environments have a page of their own."""


def page() -> str:
    """The whole page."""
    parts = [OPENING]
    for module, names in MODULES.items():
        parts.append(f"## {module.__name__}\n\n{inspect.getdoc(module)}\n")
        parts += [_described(module, name) for name in names]
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
