"""Which entry makes room: one file a policy, all of them by name here."""

from engram_rl.memory.checks import offers, shown, takes, unknown
from engram_rl.memory.forgetting.confidence import Confidence
from engram_rl.memory.forgetting.decay import Decay, Priority
from engram_rl.memory.forgetting.policy import Forgetting, WrittenRows
from engram_rl.memory.forgetting.recency import FirstInFirstOut, LeastRecentlyUsed

__all__ = [
    "FORGETTING",
    "Confidence",
    "Decay",
    "FirstInFirstOut",
    "Forgetting",
    "LeastRecentlyUsed",
    "Priority",
    "WrittenRows",
    "make_forgetting",
]

FORGETTING: dict[str, type[Forgetting]] = {
    "confidence": Confidence,
    "decay": Decay,
    "fifo": FirstInFirstOut,
    "lru": LeastRecentlyUsed,
    "priority": Priority,
}

_OWN = ("settings", "set_scores", "by_use", "births")
_CALLED = [name for name in vars(Forgetting) if not name.startswith("_") and name not in _OWN]
"""What a dictionary asks of a policy."""


def make_forgetting(policy: Forgetting | str) -> Forgetting:
    """A policy from its name, with its defaults."""
    if isinstance(policy, str):
        if policy == "decay":
            raise ValueError(
                "forgetting 'decay' has no half-life: give Decay(half_life=10_000), in a configuration "
                "{_target_: engram_rl.memory.Decay, half_life: 10000}"
            )
        if policy not in FORGETTING:
            raise unknown("forgetting policy", policy, FORGETTING)
        return FORGETTING[policy]()
    offers("forgetting", policy, _CALLED, FORGETTING)
    params = getattr(policy, "__dataclass_params__", None)
    if isinstance(policy, LeastRecentlyUsed | Decay) and params is not None and params.frozen:
        raise TypeError(
            f"forgetting is {shown(policy)}, a frozen dataclass of a policy that counts its uses; leave out frozen=True"
        )
    takes("forgetting", policy, "written", "rows")
    takes("forgetting", policy, "lowest_birth", "rows")
    return policy
