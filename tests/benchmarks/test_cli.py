"""A benchmark's command line refuses what it does not know."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from benchmarks.cli import from_arguments, parse
from benchmarks.provenance import this_command


@dataclass
class Options:
    out: str = "results.jsonl"
    entries: int = 100
    tiny: bool = False
    seeds: list[int] = field(default_factory=lambda: [0])
    agents: list[str] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)


def test_arguments_override_the_defaults():
    assert from_arguments(Options, ["entries=5", "tiny=true"]) == Options(entries=5, tiny=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("entires=5", "did you mean entries"),
        ("entries", "key=value"),
        ("entries=many", "many"),
        ("agents=[ppo hidden=[8]]", r"agents=\[ppo hidden=\[8\]\] is no YAML .* goes in quotes"),
    ],
)
def test_a_bad_argument_is_named_with_the_remedy(argument, message):
    with pytest.raises(ValueError, match=message):
        from_arguments(Options, [argument])


def test_on_the_command_line_it_exits_with_the_message(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(Options, ["sizes=3"])
    assert stopped.value.code == 2 and "unknown option 'sizes'" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "seeds"), [("seeds=3", [0, 1, 2]), ("seeds=[4,7]", [4, 7]), ("seeds=0", [])])
def test_seeds_are_a_list_or_a_count(given, seeds):
    assert from_arguments(Options, [given]).seeds == seeds


@pytest.mark.parametrize(("given", "agents"), [("agents=ppo", ["ppo"]), ("agents=[ppo, random]", ["ppo", "random"])])
def test_names_are_a_list_or_a_single_one(given, agents):
    assert from_arguments(Options, [given]).agents == agents


def test_a_dict_takes_its_keys_behind_dots():
    assert from_arguments(Options, ["overrides.a2c.lr=1e-3"]).overrides == {"a2c": {"lr": 1e-3}}


def test_help_shows_the_docstring_and_the_defaults(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(Options, ["--help"])
    assert stopped.value.code == 0 and "entries: 100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (
            ["python", "-m", "benchmarks.shift", "agents=[a, b]", "out=x", "workers=2"],
            "python -m benchmarks.shift 'agents=[a, b]'",
        ),
        (["python", "-X", "dev", "-m", "benchmarks.limits"], "python -m benchmarks.limits"),
        (["python", "-m", "pytest", "-q"], "python -m pytest -q"),
        (["/usr/bin/python3", "train.py"], "python train.py"),
    ],
)
def test_a_row_says_by_which_command_it_was_measured(monkeypatch, arguments, command):
    monkeypatch.setattr("sys.orig_argv", arguments)
    assert this_command() == command
