"""A core around a core: what it remembers is what that remembers, and perhaps a little more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from torch import Tensor

from engram_rl.memory.cores.core import Core, State

MakeCore: TypeAlias = Callable[[int, int], Core]
"""Makes a core of an input size and a hidden size: a class, or a `functools.partial` of one with settings."""

Kind = TypeVar("Kind", bound=Core)


class Wrapper(Core):
    """Shows of the core inside what is shown of a core; a wrapper writes `_initial`, `_step` and `__init__`.

    Args:
        input_size: D, of the wrapper.
        core: What is wrapped.

    Raises:
        ValueError: The core outlives episodes, or has a leaf that would be called as one of the wrapper's.
    """

    core: Core
    own: tuple[str, ...] = ()
    """Leaves of the state that are the wrapper's."""

    def __init__(self, input_size: int, core: Core) -> None:
        super().__init__(input_size, core.output_size)
        if core.lifelong:
            raise ValueError(f"{self._name} takes a core whose memory ends with an episode; {core._name}'s does not")
        for name in self.own:
            if name in core._leaves():
                raise ValueError(
                    f"{self._name} keeps {name!r} in its state, and {core._name} does too; wrap another core"
                )
        self.core = core
        self.reads_by = core.reads_by

    def _inner(self, state: State) -> State:
        """What of a state is the core's."""
        return {name: leaf for name, leaf in state.items() if name not in self.own}

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return self.core._initial(batch_size, like)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Those of the core; what is the wrapper's own joins the first of them."""
        first, *rest = self.core.parameter_groups(lr)
        inner = {id(one) for one in self.core.parameters()}
        own = [one for one in self.parameters() if id(one) not in inner]
        return [first | {"params": [*first["params"], *own]}, *rest]

    def inspect(self, state: State) -> dict[str, Tensor]:
        """What is told of the core, and of some wrappers more."""
        return self.core.inspect(self._inner(state))

    def _read_weights(self, state: State) -> Tensor:
        return self.core._read_weights(self._inner(state))


def made(wrapper: str, make: MakeCore, input_size: int, hidden_size: int) -> Core:
    """The core that a wrapper is to wrap.

    Raises:
        TypeError: What is given makes no core.
        ValueError: It makes one for inputs of another size, or one that scores choices, which only a policy adds up.
    """
    if isinstance(make, Core | str) or not callable(make):
        raise TypeError(
            f"{wrapper} takes what makes its core of two sizes, such as core=DNC or core=partial(DNC, slots=16), got "
            f"{type(make).__name__ if isinstance(make, Core) else repr(make)}"
        )
    core = make(input_size, hidden_size)
    if not isinstance(core, Core):
        raise TypeError(f"{wrapper}'s core=... makes {type(core).__name__}, which is no core")
    if core.input_size != input_size:
        raise ValueError(f"{wrapper}'s core is to take {input_size} numbers; core=... makes one of {core.input_size}")
    if core.choices:
        raise ValueError(
            f"{wrapper} would take {core._name}'s scores of {core.choices} choices for features; leave choices and "
            f"choice_columns out of the core inside"
        )
    return core


def inside(wrapper: str, core: Core, kind: type[Kind], such_as: str) -> Kind:
    """The core, which is of a kind that a wrapper can wrap.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(core, kind):
        raise ValueError(f"{wrapper} wraps a core such as {such_as}, got {type(core).__name__}")
    return core
