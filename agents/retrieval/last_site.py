"""A register instead of a memory, for comparison: the policy is shown the place where reward was found last.

If an agent with retrieval does no better than with this, what it needs is one place and not a memory of many.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import rows_of
from engram_rl.agents.common.seeding import copied
from engram_rl.agents.retrieval.entries import value_parts
from engram_rl.agents.retrieval.neighbours import Neighbours
from engram_rl.agents.retrieval.options import RetrievalOptions
from engram_rl.agents.retrieval.situations import Situations
from engram_rl.agents.retrieval.tokens import NEIGHBOURS, SHOWN, Tokens


class LastSite:
    """Shows the token that retrieval would show of one reward site, the last: an `ExtraInput` of `policy_gradient`.

    The register holds one place for each environment. It is set where reward is found and cleared where that place is
    visited in vain; nothing else is kept.

    Args:
        situations: Reads places from observations.
        action_space: Of one environment.
        num_envs: E.
        options: Of retrieval: `memory_dropout` and `site_size` count, what is said of entries does not.
        generator: Draws in which episodes nothing is shown.
        device: Where the policy is.

    Raises:
        ValueError: Observations do not say where the agent is, or retrieved returns are to vote for actions.
    """

    def __init__(
        self,
        *,
        situations: Situations,
        action_space: spaces.Space,
        num_envs: int,
        options: RetrievalOptions,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        if not situations.place_size:
            raise ValueError(
                "control=last_site shows a place, but observations do not say where the agent is: read places from "
                "columns (view@agent.view=place)."
            )
        if options.logit_bias:
            raise ValueError(
                f"control=last_site retrieves no returns that logit_bias={options.logit_bias} could weigh: set "
                f"agent.retrieval.logit_bias=0."
            )
        self._situations, self._space, self._options = situations, action_space, options
        self._generator, self._device = generator, device
        self._parts = value_parts(situations.place_size, Flatten(action_space).size)
        self._describe = Tokens(self._parts, neighbours=0, reward_sites=1, reach=situations.reach)
        self.token_size = self._describe.size
        self._where = np.zeros((num_envs, situations.place_size), np.float32)  # [E, P]
        self._held = np.zeros(num_envs, bool)  # [E] whether there is such a place
        self._age = np.ones(num_envs)  # [E] in episodes, of the find
        self._dropped = torch.zeros(num_envs, dtype=torch.bool)  # [E] whether the present episode is shown nothing

    def read(self, observation: Observation, *, explore: bool) -> dict[str, Tensor]:
        """One token `[E, 1, F]` and whether it is there `[E, 1]`."""
        return self._shown(observation, np.arange(len(self._held)))

    def read_final(self, transition: Transition, rows: np.ndarray) -> dict[str, Tensor]:
        """The same beside the last observations of some environments. `[R, 1, F]`, `[R, 1]`."""
        return self._shown(rows_of(transition.next_observation, rows), rows)

    def observe(self, transition: Transition) -> None:
        """Hold the place where reward was found, clear what was visited in vain."""
        place = self._situations.places(transition.next_observation)
        found = transition.reward > 0
        self._held &= found | ~self._same_site(place)
        self._where[found], self._held[found], self._age[found] = place[found], True, 0
        self._age += transition.done
        self._drop(np.flatnonzero(transition.done))

    def begin_episodes(self) -> None:
        """All environments begin anew; what was found is kept."""
        self._dropped[:] = False

    def player(self, num_envs: int) -> LastSite:
        """One for other environments, that has found nothing yet and always shows what it holds."""
        return LastSite(
            situations=self._situations,
            action_space=self._space,
            num_envs=num_envs,
            options=replace(self._options, memory_dropout=0.0),
            generator=copied(self._generator),
            device=self._device,
        )

    def metrics(self) -> dict[str, float]:
        """How many places are held."""
        return {"memory/size": float(self._held.sum())}

    def state_dict(self) -> dict[str, Any]:
        """The registers, and in which episodes nothing is shown."""
        arrays = {name: getattr(self, f"_{name}").copy() for name in ("where", "held", "age")}
        return arrays | {"dropped": self._dropped.clone(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name in ("where", "held", "age"):
            setattr(self, f"_{name}", state[name].copy())
        self._dropped = state["dropped"].clone()
        self._generator.set_state(state["generator"])

    def _shown(self, observation: Observation, envs: np.ndarray) -> dict[str, Tensor]:
        """`[R, 1, F]`, `[R, 1]`."""
        shown = torch.from_numpy(self._held[envs]) & ~self._dropped[envs]
        found = self._as_neighbours(envs, shown.unsqueeze(1))
        tokens = self._describe(found, torch.from_numpy(self._situations.places(observation)))
        return {NEIGHBOURS: tokens.to(self._device), SHOWN: found.shown.to(self._device)}

    def _as_neighbours(self, envs: np.ndarray, shown: Tensor) -> Neighbours:
        """The registers as reward sites that are believed fully. `shown [R, 1]`."""
        R, actions = len(envs), self._parts[4]
        where, one = torch.from_numpy(self._where[envs]), torch.ones(R, 1)
        values = torch.cat([where, one, one, where, torch.zeros(R, actions + 1)], dim=1)
        age = torch.from_numpy(self._age[envs]).float().unsqueeze(1)
        nowhere = torch.full((R, 1), -1)
        return Neighbours(values.unsqueeze(1), one, torch.zeros(R, 1), age, shown, nowhere)

    def _same_site(self, place: np.ndarray) -> np.ndarray:
        """Whether each place is the one that is held. `[E, P]` -> `[E]`."""
        size = self._options.site_size
        if not size:
            return (place == self._where).all(1)
        return (np.rint(place / np.float32(size)) == np.rint(self._where / np.float32(size))).all(1)

    def _drop(self, envs: np.ndarray) -> None:
        """These environments begin an episode, in which perhaps nothing is shown."""
        self._dropped[envs] = torch.rand(len(envs), generator=self._generator) < self._options.memory_dropout
