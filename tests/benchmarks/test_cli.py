"""A benchmark's command line refuses what it does not know."""

from dataclasses import dataclass

import pytest

from benchmarks.cli import from_arguments, parse


@dataclass
class Options:
    out: str = "results.jsonl"
    entries: int = 100
    tiny: bool = False


def test_arguments_override_the_defaults():
    assert from_arguments(Options, ["entries=5", "tiny=true"]) == Options(entries=5, tiny=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [("entires=5", "did you mean entries"), ("entries", "key=value"), ("entries=many", "many")],
)
def test_a_bad_argument_is_named_with_the_remedy(argument, message):
    with pytest.raises(ValueError, match=message):
        from_arguments(Options, [argument])


def test_on_the_command_line_it_exits_with_the_message(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(Options, ["sizes=3"])
    assert stopped.value.code == 2 and "unknown option 'sizes'" in capsys.readouterr().err
