"""The site builds without a warning, every public name is on it, and a browser finds it."""

import functools
import os
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.reference import PARTS
from benchmarks.screenshots import missing, open_browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_public_name_has_a_place(site):
    for page, part in PARTS.items():
        text = (site / "api" / page / "index.html").read_text(encoding="utf-8")
        for module, names in part.described().items():
            assert [name for name in names if f'id="{module.__name__}.{name}"' not in text] == []


def test_nothing_is_loaded_from_elsewhere_and_no_marker_is_left(site):
    first = (site / "index.html").read_text(encoding="utf-8")
    assert "report: value" not in first and "fast_slow_shift.png" in first
    assert 'src="http' not in first and 'rel="stylesheet" href="http' not in first


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_browser_searches_it(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found, end = [], time.monotonic() + 60
    try:
        with open_browser() as browser:
            browser.get(f"http://127.0.0.1:{server.server_port}/?q=contradict")
            while not found and time.monotonic() < end:
                found = browser.find_elements("css selector", ".md-search-result__link")
                time.sleep(0.2)
            pages = {link.get_attribute("href") for link in found}
    finally:
        server.shutdown()
        server.server_close()
    assert any("/api/memory/" in page for page in pages), pages
