"""The documentation as a site, with the API from docstrings and a search: hooks of `mkdocs.yml`.

    python -m mkdocs build --strict        # into site/ (extra `docs`); warnings are errors
    python -m mkdocs serve                 # on http://127.0.0.1:8000, rebuilt as pages change

The pages are those of `docs/`, which GitHub shows as well; here the README becomes the first page, and pages of the API
are added, one for each package, with every public name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.reference import PARTS, Part

ROOT = Path(__file__).resolve().parents[1]


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
    texts |= {f"api/{name}.md": api_page(part) for name, part in PARTS.items()}
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links of the repository lead to pages of the site; what is no page is named without a link."""
    here = page.file.src_uri
    from_root = here in OUTSIDE
    return LINK.sub(lambda link: _led(link, here, from_root, files), MARKER.sub("", markdown))


def api_page(part: Part) -> str:
    """The source of a page of the API: mkdocstrings writes what the docstrings say."""
    lines = [f"# {part.title}", "", part.opening, ""]
    for module, names in part.described().items():
        lines += [line for name in names for line in (f"::: {module.__name__}.{name}", "")]
    return "\n".join(lines)


def _led(link: re.Match[str], here: str, from_root: bool, files: Any) -> str:
    path, anchor = link["path"].removeprefix("../"), link["anchor"] or ""
    path = path.removeprefix("docs/") if from_root else path
    target = MOVED.get(path, path)
    if files.get_file_from_path(target) is None:
        return str(link["text"])
    return f"{link['image']}[{link['text']}]({'../' * here.count('/')}{target}{anchor})"
