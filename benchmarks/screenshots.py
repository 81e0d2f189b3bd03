"""`python -m benchmarks.screenshots run=RUN_FOLDER out=docs/figures`: TensorBoard's pages of a run, in a real browser.

Needs Chromium and its driver (Debian: chromium, chromium-driver) and selenium (extra `dev`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cli import parse

PAGES = {
    "timeseries": ("rollout/ep_rew_mean",),
    "custom_scalars": ("Return beside task index and memory", "task index", "Memory health"),
    "images": ("episode/video", "episode/frames"),
    "hparams": ("agent.memory.capacity", "hparam/score"),
    "projector": ("Points:", "memory"),
}
"""By TensorBoard's name of a page, the words that it must show."""
FLAGS = (
    "--headless=new --no-sandbox --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars "
    "--enable-unsafe-swiftshader --use-angle=swiftshader --window-size=1440,1000"
)
"""WebGL, which the projector draws with, is computed: there is no GPU."""
EVERY_TEXT = """
const gather = (node) => {
  let text = node.nodeType === Node.TEXT_NODE ? node.textContent + ' ' : '';
  if (node.tagName === 'STYLE' || node.tagName === 'SCRIPT') return '';
  if (node.tagName === 'IFRAME') { try { text += gather(node.contentDocument.body); } catch (e) {} }
  for (const child of [...(node.shadowRoot ? [node.shadowRoot] : []), ...node.childNodes]) text += gather(child);
  return text;
};
return gather(document.body);
"""
"""The page's text, also within shadow roots and frames, where most of TensorBoard lives."""
COLOUR_BY = """
const find = (node, name) => {
  if (node.localName === name) return node;
  if (node.tagName === 'IFRAME') { try { return find(node.contentDocument.body, name); } catch (e) { return null; } }
  for (const child of [...(node.shadowRoot ? [node.shadowRoot] : []), ...node.childNodes]) {
    const found = find(child, name);
    if (found) return found;
  }
  return null;
};
const panel = find(document.body, 'vz-projector-data-panel');
if (!panel) return false;
panel.selectedColorOptionName = arguments[0];
return true;
"""


@dataclass
class Screenshots:
    """Open TensorBoard on a run and keep an image of each page.

    python -m benchmarks.screenshots run=runs/<folder> out=docs/figures

    pages: which; all by default.
    colour: by which column of the memory the projector colours its points.
    wait: seconds to wait for a page at most.
    """

    run: str = "runs"
    out: str = "results/screenshots"
    pages: list[str] = field(default_factory=lambda: list(PAGES))
    colour: str = "value"
    wait: float = 60.0


def main(arguments: list[str]) -> int:
    """Take the images; the exit status is 1 if a page lacks what it must show."""
    options = parse(Screenshots, arguments)
    lacking = shoot(Path(options.run), Path(options.out), options.pages, options.colour, options.wait)
    for page, words in lacking.items():
        print(f"{page} does not show {', '.join(words)}")
    return int(bool(lacking))


def missing() -> str:
    """What is not installed here, or nothing."""
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return f"there is no {program} here"
    try:
        import selenium  # noqa: F401
    except ModuleNotFoundError:
        return "selenium is not installed"
    return ""


def shoot(run: Path, out: Path, pages: list[str], colour: str, wait: float) -> dict[str, list[str]]:
    """Take an image of each page; returns the words that a page should show and does not."""
    out.mkdir(parents=True, exist_ok=True)
    lacking: dict[str, list[str]] = {}
    with _tensorboard(run) as address, open_browser() as browser:
        for page in pages:
            browser.get("about:blank")
            browser.get(f"{address}{'?tagFilter=rollout' if page == 'timeseries' else ''}#{page}")
            words = _words_missing(browser, PAGES[page], wait)
            if page == "projector":
                browser.execute_script(COLOUR_BY, colour)
            time.sleep(3)  # charts are drawn after their titles
            browser.save_screenshot(str(out / f"tensorboard_{page}.png"))
            if words:
                lacking[page] = words
    return lacking


def _words_missing(browser: Any, words: tuple[str, ...], wait: float) -> list[str]:
    """Wait until the page shows all words; those it does not when time is up."""
    end = time.monotonic() + wait
    while True:
        text = "".join(browser.execute_script(EVERY_TEXT).split())  # long names are cut into several nodes
        lacking = [word for word in words if "".join(word.split()) not in text]
        if not lacking or time.monotonic() > end:
            return lacking
        time.sleep(0.5)


@contextmanager
def _tensorboard(run: Path) -> Iterator[str]:
    """TensorBoard on a free port of this machine; its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--host", "127.0.0.1", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[Any], log: Any) -> str:
    for _ in range(600):
        log.seek(0)
        if found := re.search(r"http://127\.0\.0\.1:\d+/", log.read()):
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.2)
    log.seek(0)
    raise RuntimeError(f"TensorBoard did not start: {log.read()}")


@contextmanager
def open_browser() -> Iterator[Any]:
    """A headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as profile:
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        browser.set_script_timeout(60)
        try:
            yield browser
        finally:
            browser.quit()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
