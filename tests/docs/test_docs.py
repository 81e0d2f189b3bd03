"""Every snippet of the documentation runs, its links lead somewhere, its commands and generated pages are current."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from benchmarks import errors, reference
from engram_rl.command_line import COMMANDS as COMMAND_LINE
from engram_rl.training.configuration.prepared import prepare

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
SNIPPETS = [
    pytest.param(code, id=f"{page.stem}{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]
COMMAND = re.compile(r"(?:^    |`)((?:engram|python train\.py|python evaluate\.py) [^`\n]*)", re.MULTILINE)
COMMANDS = sorted(
    {
        command.strip().replace("\\|", "|")
        for page in PAGES
        for command in COMMAND.findall(page.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_run(code):
    exec(compile(code, "snippet", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_modules_that_commands_name_exist(page):
    for module in re.findall(r"python -m ((?:benchmarks|examples)[\w.]*)", page.read_text(encoding="utf-8")):
        path = ROOT / module.removesuffix(".NAME").replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


def words_of(command):
    """The subcommand that a command gives, and its arguments."""
    first, *rest = shlex.split(re.sub(r"\s{2,}#.*|\s{2,}\w.*", "", command))
    return (rest[0].removesuffix(".py"), rest[1:]) if rest else (first, [])


def test_there_are_commands():
    assert {words_of(command)[0] for command in COMMANDS} >= {"train", "evaluate", "sweep-summary"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_can_be_composed(command):
    prepare()
    subcommand, words = words_of(command)
    assert subcommand in COMMAND_LINE or subcommand.startswith("-"), f"there is no engram {subcommand}"
    if subcommand not in ("train", "evaluate"):
        return
    taken = [word for word in words if "=" in word or word.startswith("~")]
    overrides = [word for word in taken if "<" not in word and "..." not in word]
    own = [ROOT / words[words.index("--config-dir") + 1]] if "--config-dir" in words else []
    if any(not folder.is_dir() for folder in own) or "sweep=" in command:
        return  # the reader's own, or in need of launchers that an extra installs
    searched = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in own)}]"] if own else []
    single = [override.split(",")[0] if "-m" in words else override for override in overrides]
    if subcommand == "evaluate":  # which takes this value although a group bears its name
        single = [re.sub("^memory=", "memory_mode=", override) for override in single]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        compose(subcommand, [*single, *searched])


def test_the_yaml_of_the_walk_through_is_that_of_the_example():
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "plug_in.md").read_text(), re.DOTALL)
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "examples/own_environment/env/warehouse.yaml").read_text())


def test_the_table_of_errors_is_current():
    assert errors.table() == errors.PAGE.read_text(encoding="utf-8"), "run python -m benchmarks.errors"


def test_the_reference_is_current():
    assert reference.page() == reference.PAGE.read_text(encoding="utf-8"), "run python -m benchmarks.reference"
