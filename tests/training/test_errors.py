"""Errors: whose code it was, at which place, what is the nearest valid word, and what a command says of it."""

import errno
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from engram_rl.training import help as helping
from engram_rl.training.cli import (
    OUT_OF_PLACE,
    PIPE,
    explain,
    in_whole_numbers,
    own_folders,
    require_cadences,
    require_choices,
    require_positive,
    run_command,
)
from engram_rl.training.composing import composed
from engram_rl.training.errors import (
    OURS,
    BrokenCodeError,
    UsageError,
    causes,
    did_you_mean,
    in_your,
    is_users,
    place_of,
    raised_by_user,
    say_once,
)
from engram_rl.training.seeding import require_seed


def caught(call, *given):
    try:
        call(*given)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def fails():
    json.loads("{")


def calls_what_fails():
    fails()


def of_ours(text):
    """A function of a file that lies in the package."""
    made = {}
    exec(compile(f"def call():\n    {text}\n", f"{OURS[-1]}/made.py", "exec"), made)
    return made["call"]


@pytest.mark.parametrize(
    ("name", "valid", "said"),
    [
        ("cartpol", ["cartpole", "acrobot"], "Did you mean cartpole?"),
        ("CARTPOL", ["CartPole", "acrobot"], "Did you mean CartPole?"),
        ("nce", ["nec", "nec2", "nce5", "nec", "x"], "Did you mean nce5 or nec or nec2?"),
        ("ab", ["ab1", "ab2", "ab3", "ab4"], "Did you mean ab1 or ab2 or ab3?"),
        ("zz", ["nec", "mfec"], "Valid names: mfec, nec."),
        ("zz", [f"{n:02}" for n in range(30)], f"Valid names: {', '.join(f'{n:02}' for n in range(30))}."),
        ("zz", [f"{n:02}" for n in range(31)], f"Valid names: {', '.join(f'{n:02}' for n in range(30))} ...."),
    ],
)
def test_the_nearest_names_are_offered_or_all_where_none_is_near(name, valid, said):
    offered = did_you_mean(name, valid)
    if said.startswith("Did you mean n"):  # as near as each other
        assert {*offered[len("Did you mean ") : -1].split(" or ")} == {"nce5", "nec", "nec2"}
    elif said.startswith("Did you mean ab"):
        assert offered.count(" or ") == 2
    else:
        assert offered == said
    assert did_you_mean("ab", ["ab1", "ab2"], limit=1).count("ab") == 1


@pytest.mark.parametrize(
    ("path", "theirs"),
    [
        ("<string>", False),
        ("/home/me/world.py", True),
        ("/home/me/site-packages/world.py", False),
        ("/usr/lib/python3/dist-packages/world.py", False),
        (json.__file__, False),
        (pytest.__file__, False),
        (require_seed.__code__.co_filename, False),
        (__file__, True),
    ],
)
def test_whose_a_file_is(path, theirs):
    assert is_users(path) is theirs


def test_whose_code_an_exception_passed_through():
    assert raised_by_user(caught(fails)) and raised_by_user(caught(calls_what_fails))
    assert not raised_by_user(caught(require_seed, "x")), "who calls us is not to blame for us"
    assert raised_by_user(caught(list, (fails() for _ in [1])))
    assert not raised_by_user(ValueError("never raised"))
    assert raised_by_user(SyntaxError("invalid", ("/home/me/world.py", 3, 1, "def (")))
    assert not raised_by_user(SyntaxError("invalid", (json.__file__, 3, 1, "def (")))
    assert not raised_by_user(SyntaxError("invalid"))
    wrapped = RuntimeError("later")
    wrapped.__context__ = caught(fails)
    assert raised_by_user(wrapped)


def test_the_place_is_the_innermost_line_of_the_users_own():
    line = fails.__code__.co_firstlineno + 1
    for call in (fails, calls_what_fails):
        assert place_of(caught(call)) == f"{__file__}, line {line}, in fails"
    theirs = caught(fails)
    theirs.__traceback__ = theirs.__traceback__.tb_next.tb_next  # what is installed alone
    assert Path(place_of(theirs).partition(",")[0]).name == "decoder.py" and place_of(theirs).endswith("in raw_decode")
    assert place_of(ValueError("never raised")) == "an unknown place"
    assert place_of(SyntaxError("invalid", ("world.py", 3, 1, "def ("))) == "world.py, line 3"
    assert place_of(SyntaxError("invalid")) == "an unknown place"


def test_causes_are_followed_to_the_first_and_never_in_a_circle():
    one, two, three = ValueError(1), ValueError(2), ValueError(3)
    one.__cause__, one.__context__, two.__context__ = two, three, three
    assert list(causes(one)) == [one, two, three]
    three.__cause__ = one
    assert list(causes(one)) == [one, two, three]
    assert list(causes(None)) == []


def test_an_error_in_somebodys_code_is_shown_with_what_to_do():
    ours = UsageError("as it is")
    assert in_your("agent X", "learn", ours) is ours
    found = in_your("world X", "step", caught(fails))
    assert type(found) is BrokenCodeError and str(found).startswith("In your world X, in step: JSONDecodeError: Exp")
    hinted = str(in_your("world X", "step", ValueError("not enough values to unpack (expected 5, got 4)")))
    assert "got 4) (step gives observation, reward, terminated, truncated, info;" in hinted
    assert " (it is def reset(self, *, seed=None" in str(
        in_your("world X", "reset", TypeError("reset() got an unexpected keyword argument 'seed'"))
    )


def test_what_is_no_error_is_told_once(capsys):
    say_once.cache_clear()
    for text in ("one", "one", "two", "one"):
        say_once(text)
    assert capsys.readouterr() == ("", "one\ntwo\n")


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Run a function as a command; its exit status and what it printed as an error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(call, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        error = None
        try:
            run_command(call)
        except SystemExit as end:
            error = end
        assert "HYDRA_FULL_ERROR" not in os.environ
        return error and error.code, capsys.readouterr().err

    return run


def raises(error):
    def call():
        raise error

    return call


def test_a_command_hears_its_words_and_leaves_no_mark(command, tmp_path):
    heard = []
    (tmp_path / "own").mkdir()
    given = ("steps=1e3", "--config-dir", "own", "a=1")
    assert command(lambda: heard.append((sys.argv[1:], os.environ["HYDRA_FULL_ERROR"])), *given) == (None, "")
    assert heard == [(["--config-dir", "own", "steps=1000", "a=1"], "1")]
    assert sys.path[-2:] == [str(tmp_path / "own"), str(tmp_path)]
    before = list(sys.path)
    command(lambda: None, *given)
    assert sys.path == before


def test_what_the_user_can_put_right_ends_a_command_with_one_message(command):
    assert command(raises(UsageError("this is wrong"))) == (2, "Error: this is wrong\n")
    status, printed = command(fails)
    assert status == 2 and printed.startswith("Error: In your code, in training: JSONDecodeError: Expecting property")
    assert command(of_ours("raise OSError(5, 'a disk')")) == (2, "Error: [Errno 5] a disk\n")
    with pytest.raises(KeyError):  # of ours: a fault, shown whole
        command(of_ours("raise KeyError(1)"))
    assert command(raises(KeyboardInterrupt()))[0].startswith("Interrupted before the step in hand was done")


def test_a_users_error_that_came_of_one_of_ours_is_ours(command):
    def call():
        try:
            raise UsageError("this is wrong")
        except UsageError as error:
            raise RuntimeError("later") from error

    with pytest.raises(RuntimeError):
        command(call)


def test_the_whole_traceback_is_shown_where_it_is_asked_for(command, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UsageError):
        run_command(raises(UsageError("this is wrong")))
    assert os.environ["HYDRA_FULL_ERROR"] == "1"
    run_command(lambda: None)


def test_a_command_whose_reader_has_gone_ends_as_programs_do(command, monkeypatch):
    ended = []
    monkeypatch.setattr(os, "dup2", lambda *given: ended.append(given))
    with os.fdopen(os.dup(1), "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert command(raises(BrokenPipeError())) == (128 + 13, "")
        monkeypatch.undo()
    assert len(ended) == 1
    assert not hasattr(signal, "SIGPIPE") or signal.SIGPIPE == PIPE


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("steps=1e5", "steps=100000"),
        ("steps=1e5,2.0,7", "steps=100000,2,7"),
        ("steps=1.5", "steps=1.5"),
        ("steps=many", "steps=many"),
        ("steps=nan", "steps=nan"),
        ("steps=inf", "steps=inf"),
        ("evaluation.max_steps=1e3", "evaluation.max_steps=1000"),
        ("agent.discount=1e0", "agent.discount=1e0"),
        ("steps", "steps"),
    ],
)
def test_numbers_are_whole_where_whole_ones_are_asked_for(given, said):
    assert in_whole_numbers(given) == said


def test_the_users_folders_are_the_one_of_the_flag_and_the_current(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there = str(tmp_path), str(tmp_path / "own")
    assert own_folders([]) == own_folders(["steps=1", "-h", "--help"]) == [here]
    for flag in (["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"]):
        assert own_folders([*flag, "steps=1"]) == [there, here]
    assert own_folders(["--config", "own"]) == own_folders(["--config-d", "own"]) == [here]


@pytest.mark.parametrize("number", OUT_OF_PLACE)
def test_where_the_system_refuses_to_write_there_is_a_remedy(number):
    error = OSError(number, os.strerror(number), "runs/a")
    assert explain(error) == f"{error}. {OUT_OF_PLACE[number]}"
    assert explain(ValueError("plain")) == "plain" and explain(OSError(errno.EIO, "a disk")) == "[Errno 5] a disk"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gamma=0.9"], "no key 'gamma' at the top"),
        (["agent.gamma=0.9"], "no key 'gamma' under 'agent'"),
        (["env.kwargs.gravity=1"], r"^env.kwargs takes new keys with a plus: \+env.kwargs.gravity=...$"),
        (["agent=nce"], r"^There is no agent 'nce'\. Did you mean nec"),
        (
            ["env=CartPole-v1"],
            r"^There is no env .CartPole-v1.\. If that is a Gymnasium id: env=gym env.id=CartPole-v1$",
        ),
        (["agent=nec_eager"], "^There is no agent 'nec_eager': agent=nec_eager is agent=nec_sample_efficient now.$"),
        (["+hydra/launcher=none"], r"^There is no hydra/launcher 'none' here: .*'engram-rl\[sweep\]'"),
        (["+hydra/sweeper=none"], r"^There is no hydra/sweeper 'none' here: .*'engram-rl\[tune\]'"),
        (["fast"], "^'fast' is no value: give key=value"),
        (["name=a(b"], r"""in quotes within those of the shell: "name='a\(b'"\. A list"""),
        (["name=it's"], r"""the shell: "name='it\\'s'"\."""),
        (["steps=many"], r"^Error merging override steps=many\nValue 'many' .* could not be converted to Integer$"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said_shortly(words, said):
    with pytest.raises(UsageError, match=said), composed("train", words):
        pass


def test_a_value_that_has_to_be_given_is_named():
    said = r"^env\.id has no value: give one, env\.id=\.\.\.$"
    with pytest.raises(UsageError, match=said), composed("train", ["env=gym"]) as config:
        _ = config.env.id


def test_the_last_cause_is_said_of_what_could_not_be_built():
    error = caught(instantiate, {"a": {"_target_": "fractions.Fraction", "numerator": "x"}})
    assert explain(error) == "Invalid literal for Fraction: 'x'\n(while building full_key: a)"
    assert explain(InstantiationException("alone")) == "alone" and explain(HydraException("alone")) == "alone"
    wide = ConfigCompositionException("first\nmore")
    assert explain(wide) == "first\nmore"
    wide.__cause__ = ValueError("")
    wide.__cause__.__cause__ = ValueError("second\nmore")
    wide.__cause__.__cause__.__cause__ = ValueError("third")
    assert explain(wide) == "first\nsecond"


def test_a_group_that_cannot_be_found_is_named():
    missing = lambda file, options: explain(MissingConfigException("none", file, options))  # noqa: E731
    assert missing("agent/nce", ["nec"]) == "There is no agent 'nce'. Did you mean nec?"
    assert missing("a/b/nce", ["nec"]) == "There is no a/b 'nce'. Did you mean nec?"
    assert missing("nce", ["nec"]) == "There is no config 'nce'. Did you mean nec?"
    assert missing(None, []) == "There is no config ''. Valid names: ."
    assert missing("nce", None) == "none"


def checked(**given):
    return OmegaConf.create({"evaluation": {"mode": None, "max_steps": None}, "env": {}, "log": {"every": 1}} | given)


def test_choices_and_limits_are_checked_before_anything_begins():
    for mode in (None, "online", "frozen", "fresh"):
        require_choices(checked(evaluation={"mode": mode}))
    for seeding in ("spawned", "counted"):
        require_choices(checked(seeding=seeding))
    require_choices(checked())
    for steps in (1, None):
        require_choices(checked(evaluation={"max_steps": steps}, env={"max_episode_steps": steps}))
    for given, said in (
        ({"evaluation": {"mode": "frozn"}}, "evaluation.mode is 'frozn'"),
        ({"seeding": "count"}, "seeding is 'count'. Did you mean counted"),
        ({"evaluation": {"max_steps": 0}}, "evaluation.max_steps is 0; it must be at least 1, or null for no limit"),
        ({"env": {"max_episode_steps": -1}}, "env.max_episode_steps is -1; it must be at least 1"),
    ):
        with pytest.raises(UsageError) as found:
            require_choices(checked(**given))
        assert said in str(found.value)


def test_numbers_of_steps_are_positive_and_cadences_may_be_never():
    require_positive(checked(steps=1), "steps", "log.every")
    require_cadences(checked(log={"every": 0}), "log.every")
    with pytest.raises(UsageError, match="log.every is 0; it must be at least 1."):  # noqa: RUF043
        require_positive(checked(steps=1, log={"every": 0}), "steps", "log.every")
    with pytest.raises(UsageError, match=r"log\.every is -1; it must be a number of environment steps, or 0 for never"):
        require_cadences(checked(log={"every": -1}), "log.every")


@pytest.mark.parametrize(
    ("command", "arguments", "asked"),
    [
        ("train", ["--help"], True), ("train", ["agent=nec", "-h"], True), ("evaluate", ["-h"], True),
        ("train", [], False), ("train", ["help"], False), ("compare", ["--help"], False),
    ],
)  # fmt: skip
def test_only_the_help_of_what_is_composed_is_shown_without_the_rest(command, arguments, asked):
    assert helping.asked_for(command, arguments) is asked


@pytest.mark.parametrize("full", [None, "0", "1"])
def test_help_of_a_command_line_that_is_wrong_is_left_to_the_command(monkeypatch, full):
    monkeypatch.setattr(sys, "argv", [])
    if full is None:
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    else:
        monkeypatch.setenv("HYDRA_FULL_ERROR", full)
    helping.show("train", ["agent=nce", "--help"])
    assert os.environ.get("HYDRA_FULL_ERROR") == full
