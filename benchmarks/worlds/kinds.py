"""Every kind of world that is tried, what it is the instance of, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LEARNED, REFUSED, ENDED = "learned", "refused", "ended"
"""What must come of a kind: it is learned; it is refused by a message with certain words; or it ends with a score."""

MIXED = 0.8  # three steps from either end: -0.1, -0.1, 1


@dataclass(frozen=True)
class Kind:
    """A kind of world.

    Attributes:
        says: What it is, in a few words.
        kwargs: Of the corridor.
        expects: What must come of it.
        names: Words that a refusal must have.
        best: The highest mean return.
        options: Of `engram train`, beside.
    """

    says: str
    kwargs: dict[str, Any]
    expects: str = LEARNED
    names: tuple[str, ...] = ()
    best: float = MIXED
    options: tuple[str, ...] = ()


def _shown(says: str, observation: str) -> Kind:
    return Kind(says, {"observation": observation})


def _acted(says: str, action: str) -> Kind:
    return Kind(says, {"action": action})


def _said(says: str, info: str) -> Kind:
    return Kind(says, {"info": info})


def _refused(says: str, *names: str, **kwargs: Any) -> Kind:
    return Kind(says, kwargs, REFUSED, names)


ENDLESS = ("evaluation.max_steps=400",)

KINDS: dict[str, Kind] = {
    "plain": Kind("nothing unusual", {}),
    # ---- what is shown
    "float64": _shown("float64", "float64"),
    "float16": _shown("float16", "float16"),
    "int64": _shown("whole numbers", "int64"),
    "int8": _shown("signed bytes", "int8"),
    "uint8_row": _shown("a row of bytes", "uint8_row"),
    "uint16_row": _shown("a row of uint16", "uint16_row"),
    "bool": _shown("truth values", "bool"),
    "unbounded": _shown("no bounds", "unbounded"),
    "largest_bounds": _shown("float32's largest as bounds", "largest_bounds"),
    "half_bounded": _shown("bounded below only", "half_bounded"),
    "constant_part": _shown("a number whose bounds are equal", "constant_part"),
    "tiny_bounds": _shown("numbers below 0.001", "tiny_bounds"),
    "far_from_zero": _shown("1000 to 1006", "far_from_zero"),
    "wide_bounds": _shown("0 to a million", "wide_bounds"),
    "negative_bounds": _shown("-6 to 0", "negative_bounds"),
    "no_axis": _shown("a Box without axes", "no_axis"),
    "small_picture": _shown("a picture of 16x16", "small_picture"),
    "brightness": _shown("a small picture that differs in brightness", "brightness"),
    "symbols": _shown("a grid of codes", "symbols"),
    "picture": _shown("a picture of 42x42", "picture"),
    "channels_first": _shown("a picture, channels first", "channels_first"),
    "float_picture": _shown("a picture of 0 to 1", "float_picture"),
    "grey_picture": _shown("a grey picture, two axes", "grey_picture"),
    "stack_of_pictures": _shown("a stack of pictures, four axes", "stack_of_pictures"),
    "discrete": _shown("Discrete", "discrete"),
    "discrete_start": _shown("Discrete that starts at -3", "discrete_start"),
    "discrete_array": _shown("Discrete, given as an array of one", "discrete_array"),
    "multi_discrete": _shown("MultiDiscrete", "multi_discrete"),
    "multi_discrete_start": _shown("MultiDiscrete that starts at 1 and -1", "multi_discrete_start"),
    "multi_binary": _shown("MultiBinary", "multi_binary"),
    "named_keys": _shown("a Dict of `keys`, `items`, `values`", "named_keys"),
    "named_with_dot": _shown("a Dict of `arm.pos`, `arm` and a part without a name", "named_with_dot"),
    "named_like_ours": _shown("a Dict of `observation`, `memory`, `image`, `forward`", "named_like_ours"),
    "tuple": _shown("a Tuple", "tuple"),
    "dict_of_tuple": _shown("a Tuple in a Dict", "dict_of_tuple"),
    "dict_of_dict": _shown("a Dict in a Dict, a Discrete that starts at 4", "dict_of_dict"),
    "with_text": _shown("a Dict with a mission in words", "with_text"),
    "with_picture": _shown("a Dict of a vector and a picture", "with_picture"),
    "list": _shown("a list instead of an array", "list"),
    "with_sequence": _refused("a Dict with a Sequence", "heard", "Sequence", observation="with_sequence"),
    "with_graph": _refused("a Dict with a Graph", "map", "Graph", observation="with_graph"),
    "sequence": _refused("a Sequence", "Sequence", "wrapper", observation="sequence"),
    "graph": _refused("a Graph", "Graph", "wrapper", observation="graph"),
    "text": _refused("nothing but text", "Text", "wrapper", observation="text"),
    "one_of": _refused("OneOf", "OneOf", "wrapper", observation="one_of"),
    "nan_at_reset": _refused("NaN in the first observation", "nan", "environment 0", observation="nan_at_reset"),
    "nan_later": _refused("NaN after a while", "nan", "environment", observation="nan_later"),
    "infinite": _refused("infinity where there are no bounds", "inf", "environment", observation="infinite"),
    "huge": _refused("1e30 where there are no bounds", "1e+30", "environment", observation="huge"),
    "outside_box": _refused("far outside its Box from the first on", "99.0", "environment", observation="outside_box"),
    "outside_codes": _refused("-1 of a Discrete", "-1", "Discrete(7)", observation="outside_codes"),
    "fraction_of_bytes": _refused("0.6 of uint8", ".6", "uint8", observation="fraction_of_bytes"),
    "over_bytes": _refused("300 of uint8", "30", "uint8", observation="over_bytes"),
    "other_shape": _refused("another shape", "shape (1,)", observation="other_shape"),
    "part_missing": _refused("a part is missing", "lacks 'b'", observation="part_missing"),
    "nothing": _refused("None", "None", observation="nothing"),
    # ---- how it is steered
    "start_at_one": _acted("Discrete that starts at 1", "start_at_one"),
    "start_below_zero": _acted("Discrete that starts at -1", "start_below_zero"),
    "forty": _acted("forty actions", "forty"),
    "masked": _acted("actions that are forbidden at times", "masked"),
    "multi_discrete_actions": _acted("MultiDiscrete", "multi_discrete"),
    "multi_binary_actions": _acted("MultiBinary", "multi_binary"),
    "box": _acted("a Box of -1 to 1", "box"),
    "box_far": _acted("a Box of 10 to 20, without 0", "box_far"),
    "box_tiny": _acted("a Box of -0.0001 to 0.0001", "box_tiny"),
    "box_float64": _acted("a Box of -3 to -1, float64", "box_float64"),
    "box_unbounded": _acted("a Box without bounds", "box_unbounded"),
    "box_half_bounded": _acted("a Box of 0 to infinity", "box_half_bounded"),
    "box_whole": _acted("a Box of whole numbers", "box_whole"),
    "dict_actions": _refused("a Dict", "Dict", action="dict"),
    "tuple_actions": _refused("a Tuple", "Tuple", action="tuple"),
    "sequence_actions": _refused("a Sequence", "Sequence", action="sequence"),
    "text_actions": _refused("Text", "Text", action="text"),
    # ---- what it pays
    "sparse": Kind("only the goal pays, six steps", {"reward": "sparse", "limit": 6}, best=1.0),
    "cost": Kind("-1 a step, the goal pays 0", {"reward": "cost"}, best=-2.0),
    "all_negative": Kind("-2 a step, the goal -1", {"reward": "all_negative"}, best=-5.0),
    "costly_picture": Kind(
        "a picture of 42x42, -2 a step, the goal -1", {"observation": "picture", "reward": "all_negative"}, best=-5.0
    ),
    "million": Kind("a million, -100,000 a step", {"reward": "million"}, best=8e5),
    "millionth": Kind("a millionth", {"reward": "millionth"}, best=8e-7),
    "whole_rewards": Kind("whole numbers", {"reward": "whole"}, best=8.0),
    "truth": Kind("truth values, six steps", {"reward": "truth", "limit": 6}, best=1.0),
    "array_of_one": Kind("an array of one", {"reward": "array_of_one"}),
    "reward_no_axis": Kind("an array without axes", {"reward": "no_axis"}),
    "reward_float16": Kind("float16", {"reward": "float16"}),
    "reward_list": _refused("a list", "reward of environment", "[-0.1]", reward="list"),
    "reward_vector": _refused("a vector", "reward of environment", "array", reward="vector"),
    "reward_nothing": _refused("None", "reward of environment", "None", reward="nothing"),
    "reward_nan": _refused("NaN", "reward of environment", "nan", reward="not_a_number"),
    "reward_infinite": _refused("infinity", "reward of environment", "inf", reward="infinite"),
    "reward_text": _refused("text", "reward of environment", "'-0.1'", reward="text"),
    # ---- how it ends
    "cut_only": Kind("never over, cut after 20 steps", {"end": "cut_only"}, best=4.6),
    "endless": Kind("never over, never cut", {"end": "never"}, ENDED, options=ENDLESS, best=26.3),
    "endless_limited": Kind(
        "never over, limited by env.max_episode_steps=20",
        {"end": "never"},
        best=4.6,
        options=("env.max_episode_steps=20",),
    ),
    "limit_is_end": Kind("the limit terminates", {"end": "limit_is_end"}),
    "both_at_once": Kind("terminated and truncated at once", {"end": "both_at_once"}),
    "numpy_truths": Kind("numpy's truth values", {"end": "numpy_truths"}),
    "end_numbers": Kind("0 and 1 instead of truth values", {"end": "numbers"}),
    # ---- what it says
    "info_none": _said("None instead of a dict", "none"),
    "info_mixed": _said("None here, a number there, text or a number", "mixed"),
    "info_lengths": _said("arrays of varying length", "lengths"),
    "info_episode": _said("`episode`, of its own", "episode"),
    "info_final_obs": _said("`final_obs` and `final_info`, of its own", "final_obs"),
    "info_task_index": _said("`task_index` and `success` in words", "task_index"),
    "info_objects": _said("objects and dicts in dicts", "objects"),
    "info_whole_keys": _said("keys that are no text", "whole_keys"),
    "info_mask_of_another_kind": _said("an `action_mask` that is none", "mask_of_another_kind"),
    # ---- what else it does
    "reused_array": Kind("every observation in one array", {"habit": "reused_array"}),
    "reused_array_async": Kind(
        "the same, in processes of their own", {"habit": "reused_array"}, options=("env.vectorization=async",)
    ),
    "mixed_info_async": Kind("mixed infos, in processes", {"info": "mixed"}, options=("env.vectorization=async",)),
    "read_only": Kind("observations that cannot be written to", {"habit": "read_only"}),
    "spoils_actions": Kind("writes into actions", {"habit": "spoils_actions", "action": "box"}),
    "global_chance": Kind("draws from everybody's generators", {"habit": "global_chance"}, best=0.78),
    "port": Kind("holds a port", {"habit": "port"}, options=("env.num_envs=1",)),
    "render_fails": Kind("cannot be drawn", {"habit": "render_fails"}),
    "render_reused": Kind("draws into one array", {"habit": "render_reused"}),
    "render_floats": Kind("draws shares of light, channels first", {"habit": "render_floats"}),
    "render_nothing": Kind("draws nothing", {"habit": "render_nothing"}),
    "needs_options": _refused("cannot be reset without options", "habits.py", "reset", habit="needs_options"),
    "fails_later": _refused("has a mistake", "habits.py, line", "ZeroDivisionError", habit="fails_later"),
    "four_values": _refused("steps as Gym did", "gave 4 values", habit="four_values"),
}


@dataclass(frozen=True)
class Player:
    """An agent, and what it is for.

    Attributes:
        steps: Environment steps that it is trained for.
        vectors_only: Whether it reads places from the columns of a vector.
        numbers: Whether it acts in numbers as well as in choices.
        options: Of `engram train`.
    """

    steps: int
    vectors_only: bool = False
    numbers: bool = False
    options: tuple[str, ...] = field(default=())


SOON = ("agent.exploration.steps=300",)
SHORT = ("agent.num_steps=64", "agent.minibatch_size=64")

PLAYERS: dict[str, Player] = {
    "mfec": Player(1500, options=SOON),
    "ppo": Player(4000, numbers=True, options=SHORT),
    "fast_slow": Player(1000, vectors_only=True),
    "nec": Player(1000, options=("agent.learn_after=100", *SOON)),
    "retrieval_ppo_view": Player(2000, options=SHORT),
    "episodic": Player(1500),
    "self_imitation_ppo": Player(3000, numbers=True, options=(*SHORT, "agent.batches=4")),  # as many a step as usual
    "ppo_gru": Player(4000, numbers=True, options=SHORT),
    "retrieval_ppo": Player(3000, vectors_only=True, numbers=True, options=SHORT),
}
"""The agents of `conf/agent` that differ in more than their values."""
