"""A value of another kind than its parameter takes is refused by its name, before anything is built."""

import pytest
from omegaconf import OmegaConf

from benchmarks.configuration import CONF, agent_config
from engram_rl.training.configuration.signatures import require_types
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
