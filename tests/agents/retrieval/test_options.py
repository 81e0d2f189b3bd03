"""What a YAML may give of retrieval: its defaults are as documented, its bounds are where they are said to be."""

from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from engram_rl.agents.retrieval.options import AttentionOptions, RetrievalOptions

DEFAULTS = {
    RetrievalOptions: {
        "separate": True,
        "neighbours": 0,
        "reward_sites": 4,
        "memory_dropout": 0.2,
        "logit_bias": 0.0,
        "min_confidence": 0.2,
        "refuted": 0.05,
        "site_size": 0.0,
        "by_action": False,
        "discount": 0.97,
        "bootstrap": True,
    },
    AttentionOptions: {"width": 32, "heads": 2, "gate": 1.0, "learn_gate": True},
}


@pytest.mark.parametrize("options", DEFAULTS)
def test_defaults_are_as_documented_and_options_never_change(options):
    made = options()
    assert asdict(made) == DEFAULTS[options]
    for part in fields(made):
        with pytest.raises(FrozenInstanceError):
            setattr(made, part.name, 0)


@pytest.mark.parametrize(
    "accepted",
    [
        {"neighbours": 1, "reward_sites": 0},
        {"neighbours": 0, "reward_sites": 1},
        {"neighbours": 2, "reward_sites": 2},
        {"memory_dropout": 0},
        {"memory_dropout": 1},
        {"min_confidence": 0},
        {"min_confidence": 1},
        {"refuted": 0},
        {"refuted": 0.999},
        {"discount": 0},
        {"discount": 1},
        {"logit_bias": 0},
        {"logit_bias": 0.01},
        {"site_size": 0},
        {"site_size": 0.01},
    ],
)
def test_the_limits_themselves_are_accepted(accepted):
    made = asdict(RetrievalOptions(**accepted))
    assert {name: made[name] for name in accepted} == accepted


@pytest.mark.parametrize("share", ["memory_dropout", "min_confidence", "discount"])
@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_a_share_beyond_0_or_1_is_refused(share, value):
    with pytest.raises(ValueError, match=rf"retrieval\.{share} is {value}; it must be at least 0 and at most 1"):
        RetrievalOptions(**{share: value})


@pytest.mark.parametrize("value", [-0.01, 1, 1.0, 2])
def test_a_site_that_is_visited_in_vain_must_lose_confidence(value):
    with pytest.raises(ValueError, match=rf"retrieval\.refuted is {value}; it must be at least 0 and below 1"):
        RetrievalOptions(refuted=value)


@pytest.mark.parametrize("name", ["logit_bias", "site_size"])
def test_a_size_below_0_is_refused(name):
    with pytest.raises(ValueError, match=rf"retrieval\.{name} is -0\.01; it must be at least 0"):
        RetrievalOptions(**{name: -0.01})


@pytest.mark.parametrize(
    "refused",
    [
        {"neighbours": 0, "reward_sites": 0},
        {"neighbours": -1, "reward_sites": 4},
        {"neighbours": 4, "reward_sites": -1},
        {"neighbours": -1, "reward_sites": 1},
    ],
)
def test_something_must_be_retrieved_and_never_less_than_nothing(refused):
    counts = f"neighbours={refused['neighbours']} and reward_sites={refused['reward_sites']}"
    with pytest.raises(ValueError, match=counts):
        RetrievalOptions(**refused)
