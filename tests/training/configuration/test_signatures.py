"""A value of another kind than its parameter takes is refused by its name, before anything is built."""

import random
import typing
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import pytest
from omegaconf import OmegaConf

from benchmarks.configuration import CONF, agent_config
from engram_rl.training.configuration.signatures import in_whole_numbers, require_types
from engram_rl.training.errors import UsageError

AGENTS = sorted(path.stem for path in (CONF / "agent").glob("*.yaml"))


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_of_ours_passes_as_it_is(agent):
    require_types(OmegaConf.create(agent_config(agent)), "agent")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nec discount=abc", "agent.discount is 'abc', but engram_rl.agents.nec.make_nec takes a number"),
        ("nec key_size=1.5", "agent.key_size is 1.5.* a whole number"),
        ("nec key_size=null", "agent.key_size is None"),
        ("nec key_size=true", "agent.key_size is True"),
        ("nec hidden=-1", "agent.hidden is -1.* a list, each of it a whole number"),
        ("nec hidden=[a]", r"agent.hidden is \['a'\]"),
        (
            "nec exploration.end=abc",
            "agent.exploration.end is 'abc', but .*schedules.Linear takes a number",
        ),
        ("nec memory.capacity=null", "agent.memory.capacity is None"),
        ("nec memory._partial_=-1", "agent.memory._partial_ is -1.* true or false"),
        ("nec memory._target_=''", "agent.memory._target_ is"),
        ("nec learning_rate=abc", "agent.learning_rate is 'abc', but .*make_nec takes a number"),
        ("nec +row_learning_rate=abc", "agent.row_learning_rate is 'abc'"),
        ("retrieval_ppo retrieval.neighbours=1.5", "agent.retrieval.neighbours is 1.5.* a whole number"),
        (
            "nec memory=null",
            "agent.memory is None, but .*make_nec takes what makes it, {_target_: ..., _partial_: true}",
        ),
        ("ppo +core=gru", "agent.core is 'gru', but .*make_ppo takes what makes it"),
        ("ppo +optimiser={lr:3}", "agent.optimiser is {'lr': 3}, but .*make_ppo takes what makes it"),
        ("nec modalities=3", "agent.modalities is 3.* names with values or null"),
        ("fast_slow slow=backwards", "agent.slow is 'backwards'.* one of search, branches, none"),
        ("fast_slow danger=1.5", "agent.danger is 1.5.* true or false"),
        ("fast_slow view.state=0", "agent.view.state is 0"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_is_taken(given, said):
    with pytest.raises(UsageError, match=said):
        require_types(OmegaConf.create(agent_config(given)), "agent")


@pytest.mark.parametrize(
    "given",
    [
        "nec learning_rate=null",
        "nec discount=1",
        "episodic novelty=null",
        "ppo clip={_target_:mine.Schedule}",
        "nec memory.write_rule=max",
    ],
)
def test_what_a_parameter_takes_passes(given):
    require_types(OmegaConf.create(agent_config(given)), "agent")


def test_parameters_without_plain_annotations_are_left_to_those_who_take_them():
    require_types(OmegaConf.create({"_target_": "collections.OrderedDict", "anything": "at all"}), "agent")


def anothers(*, size: int = None, other=None):  # noqa: RUF013  (others do write this)
    """Of an agent that is not ours."""


@pytest.mark.parametrize("given", [{"size": None}, {"size": 2}, {"other": "word"}])
def test_null_is_taken_where_it_is_the_default_and_anything_without_an_annotation(given):
    require_types(OmegaConf.create({"_target_": f"{__name__}.anothers", **given}), "agent")


def takes(
    plain,
    whole: int = 1,
    number: float = 1.0,
    maybe: "int | None" = None,
    null: int = None,  # noqa: RUF013
    several: Sequence[int] = (),
    either: int | float = 0,
    word: str = "",
    choice: Literal["a", 3] = "a",
    unknown: "Nowhere" = 0,  # noqa: F821
    attribute: "typing.Nothing" = 0,
    impossible: "3 | 'x'" = 0,  # noqa: F821
    made: int | random.Random = 0,
    lists: Sequence[int] | int = 0,
    names: Mapping[str, int] = MappingProxyType({}),
    on: bool = False,
    makes: Callable[[int, int], random.Random] = random.Random,
):
    """Of somebody's own; what stands before and after an annotation that is none is checked as well."""


class Taking:
    def __init__(self, whole: int, deep: object = None):
        """The same of a class."""


TAKES, TAKING = f"{__name__}.takes", f"{__name__}.Taking"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"whole": 1e5}, 100000),
        ({"whole": -2.0}, -2),
        ({"whole": 1.5}, 1.5),
        ({"whole": "1e5"}, "1e5"),
        ({"number": 1e5}, 1e5),
        ({"maybe": 1e5}, 100000),
        ({"null": 1e5}, 100000),
        ({"several": [1e5, 2.5]}, [100000, 2.5]),
        ({"whole": [1e5]}, [1e5]),
        ({"either": 1e5}, 1e5),
        ({"plain": 1e5}, 1e5),
        ({"unknown": 1e5}, 1e5),
        ({"word": 1e5}, 1e5),
        ({"makes": "x"}, "x"),
        ({"other": 1e5}, 1e5),
    ],
)
def test_powers_of_ten_are_whole_numbers_where_these_are_taken(given, expected):
    config = OmegaConf.create({"_target_": TAKES, **given})
    OmegaConf.set_struct(config, True)
    (name,) = given
    found = in_whole_numbers(config)[name]
    assert found == expected and repr(found) == repr(expected)
    assert config == {"_target_": TAKES, **given}


def test_they_are_at_any_depth_and_only_below_what_is_built():
    deep = {"_target_": TAKING, "whole": 1e3, "deep": {"whole": 2.0, "in": {"_target_": TAKES, "whole": 3.0}}}
    found = in_whole_numbers(OmegaConf.create({"whole": 4.0, "a": deep, "b": {"_target_": "", "whole": 5.0}}))
    assert repr(found.whole) == "4.0" and repr(found.a.whole) == "1000" and repr(found.b.whole) == "5.0"
    assert repr(found.a.deep.whole) == "2.0" and repr(found.a.deep["in"].whole) == "3"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"whole": 1.0}, "a whole number"),
        ({"whole": True}, "a whole number"),
        ({"whole": "1"}, "a whole number"),
        ({"whole": None}, "a whole number"),
        ({"number": "1"}, "a number"),
        ({"number": False}, "a number"),
        ({"maybe": "x"}, "a whole number or null"),
        ({"null": "x"}, "a whole number or null"),
        ({"several": 3}, "a list, each of it a whole number"),
        ({"several": [1, 2.5]}, "a list, each of it a whole number"),
        ({"word": 3}, "a word"),
        ({"choice": "b"}, "one of a, 3"),
        ({"made": "x"}, "a whole number or Random"),
        ({"lists": ["x"]}, "a list, each of it a whole number or a whole number"),
        ({"names": 3}, "names with values"),
        ({"names": [3]}, "names with values"),
        ({"on": 1}, "true or false"),
        ({"on": None}, "true or false"),
        ({"_partial_": 1}, "true or false"),
        ({"impossible": "x", "on": 3}, "true or false"),
    ],
)
def test_what_each_annotation_takes_is_said(given, wanted):
    with pytest.raises(UsageError) as refused:
        require_types(OmegaConf.create({"_target_": TAKES, **given}), "a.b")
    name = [*given][-1]
    assert str(refused.value).startswith(f"a.b.{name} is ")
    assert str(refused.value).endswith(f", but {TAKES} takes {wanted} there.")


@pytest.mark.parametrize(
    "given",
    [
        {"whole": 3, "number": 3, "maybe": None, "null": None, "several": [], "either": 2.5, "word": "x", "choice": 3},
        {"number": 2.5, "several": [1, 2], "choice": "a", "on": True, "names": {"a": "x"}, "lists": [3], "made": 3},
        {"unknown": "x", "attribute": "x", "impossible": "x", "plain": [1], "other": 3, "made": {"_target_": TAKING}},
        {"lists": 3, "either": 3, "made": [1]},
    ],
)
def test_what_each_annotation_takes_is_taken(given):
    require_types(OmegaConf.create({"_target_": TAKES, **given}), "a")


def test_nodes_below_nodes_are_checked_with_their_place():
    config = {"a": {"b": {"_target_": TAKING, "whole": 1, "deep": {"c": {"_target_": TAKES, "on": 3}}}}}
    with pytest.raises(UsageError, match=rf"^agent\.a\.b\.deep\.c\.on is 3, but {TAKES} takes true or false"):
        require_types(OmegaConf.create(config), "agent")
    config["a"]["b"]["whole"] = "x"
    with pytest.raises(UsageError, match=r"^agent\.a\.b\.whole is 'x'"):
        require_types(OmegaConf.create(config), "agent")


@pytest.mark.parametrize("target", [3, None])
def test_a_target_is_a_word(target):
    with pytest.raises(UsageError, match=rf"a\._target_ is {target}, but {target or 'Hydra'} takes a word there"):
        require_types(OmegaConf.create({"_target_": target}), "a")


@pytest.mark.parametrize("target", ["nowhere.At", "engram_rl.nothing_of_it", "math.pi", "x", "builtins.dict", ".a"])
def test_what_has_no_signature_that_is_known_is_left_alone(target):
    require_types(OmegaConf.create({"_target_": target, "whole": "x"}), "a")
