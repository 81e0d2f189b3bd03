"""What past episodes say about the present situation, read from the project's memory and shown to a policy.

Two questions are put to one memory, each an incomplete key. "What came of being here?" gives the view and leaves the
time open; "where was reward found?" gives no place at all, only that reward came, and the time: the latest first.
What is remembered of an episode is written when it ends, so that nothing of the present one can be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import map_observation, rows_of, rows_of_mask
from engram_rl.agents.common.seeding import copied
from engram_rl.agents.common.uses import names_of, use
from engram_rl.agents.episodic_control.overestimates import met_again
from engram_rl.agents.episodic_control.returns import MonteCarloReturns, Returns
from engram_rl.agents.retrieval.continuing import Continuing
from engram_rl.agents.retrieval.controls import Control
from engram_rl.agents.retrieval.entries import Entries, Rows
from engram_rl.agents.retrieval.logit_bias import ActionReturns
from engram_rl.agents.retrieval.neighbours import Neighbours, Retriever
from engram_rl.agents.retrieval.options import RetrievalOptions
from engram_rl.agents.retrieval.retrieved import Retrieved, in_plain_numbers
from engram_rl.agents.retrieval.situations import Situations
from engram_rl.agents.retrieval.tokens import ACTION_RETURNS, NEIGHBOURS, SHOWN, Tokens, columns_of
from engram_rl.memory.forgetting import Forgetting
from engram_rl.memory.sharded import AnyMemory, ShardedMemory
from engram_rl.memory.writing.rules import Blend, Max, SurpriseGated


class MemoryInput:
    """Shows a policy what past episodes say, as tokens of K neighbours: an `ExtraInput` of `policy_gradient`.

    What a token says is told by `Tokens`. A reward site visited in vain loses confidence.

    Args:
        situations: Reads keys and places from observations.
        make_memory: An empty memory over `key_space`, with values of `value_size`.
        action_space: Of one environment.
        num_envs: E.
        options: What is retrieved, and what is believed of it.
        generator: Draws in which episodes nothing is shown.
        control: What is done to retrieval on purpose, for comparison; None for nothing.
        device: Where the policy is; entries stay on the memory's.

    Raises:
        ValueError: Places are to be retrieved where observations tell none, or the memory cannot lose confidence in
            places, or would mix entries when one is written again.
    """

    remembers = True
    """That it outlives episodes and goes on being written to while weights rest."""

    def __init__(
        self,
        *,
        situations: Situations,
        make_memory: Callable[[], AnyMemory],
        action_space: spaces.Space,
        num_envs: int,
        options: RetrievalOptions,
        generator: torch.Generator,
        control: Control | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if options.reward_sites and not situations.place_size:
            raise ValueError(
                f"{options.reward_sites} reward sites cannot be retrieved, as observations do not say where the agent "
                f"is: set agent.retrieval.reward_sites=0, or read places from columns (view@agent.view=place)."
            )
        self._built_from = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.memory, self._options = make_memory(), options
        _require_fitting(self.memory, options, places=situations.place_size > 0)
        self._writes, self._device = True, device
        self._situations, self._generator = situations, generator
        self._code = Flatten(action_space)
        self._codes = _codes_of(action_space, self._code)
        self._returns = MonteCarloReturns(options.discount, num_envs)
        self._action_returns = ActionReturns() if options.logit_bias else None
        P, A = situations.place_size, self._code.size
        counts = {"neighbours": options.neighbours, "reward_sites": options.reward_sites}
        self._entries = Entries(
            situations,
            A,
            separate=options.separate,
            sites=options.reward_sites > 0,
            by_action=options.by_action,
            site_size=options.site_size,
        )
        self._columns = columns_of(self._entries.parts)
        self._continuing = Continuing(situations, self._entries, action_space, options.neighbours)
        self._retrieve = Retriever(
            self.memory,
            situations,
            self._entries,
            min_confidence=options.min_confidence,
            num_envs=num_envs,
            control=control,
            **counts,
        )
        self._describe = Tokens(self._entries.parts, reach=situations.reach, **counts)
        self.token_size, self.return_column = self._describe.size, self._describe.return_column
        self._envs = np.arange(num_envs)
        self._episodes = np.zeros(num_envs)  # [E] ended so far in its world; in a shared one the mean of all
        self._outcome = np.zeros((num_envs, P), np.float32)  # [E, P] where the present episode found reward
        self._rewarded = np.zeros(num_envs, bool)  # [E] whether it did
        self._contexts = np.zeros(num_envs, np.int64)  # [E] in which context it did
        self._dropped = torch.zeros(num_envs, dtype=torch.bool)  # [E] whether the present episode is shown nothing
        self._acted_on: Neighbours | None = None  # when acting last
        self._noted: dict[str, float] = {}  # of what was written since `metrics`

    # ---- reading

    @torch.no_grad()
    def read(self, observation: Observation, *, explore: bool) -> dict[str, Tensor]:
        """Tokens `[E, K, F]` and which of them are there `[E, K]`."""
        found = self._look(observation, self._envs, touch=explore)
        if explore:
            self._acted_on = found
        return self._shown(found, observation)

    @torch.no_grad()
    def read_final(self, transition: Transition, rows: np.ndarray) -> dict[str, Tensor]:
        """The same beside the last observations of some environments. `[R, K, F]`, `[R, K]`."""
        final = rows_of(transition.next_observation, rows)
        return self._shown(self._look(final, rows, touch=False), final)

    @torch.no_grad()
    def look(self, observation: Observation, attention: Callable[[dict[str, Tensor]], Tensor]) -> Retrieved:
        """What the first environment is shown, for people; nothing changes, not even what a control will draw.

        Args:
            observation: Of all environments.
            attention: From what is shown to how it is attended to, with the null token last. `[E, K + 1]`
        """
        control = self._retrieve.control
        drawn = control.state_dict() if control else {}
        found = self._look(observation, self._envs, touch=False)
        if control:
            control.load_state_dict(drawn)
        weights = attention(self._shown(found, observation)).cpu()
        place = self._situations.places(observation)[0]
        return in_plain_numbers(found, weights, place, self._entries.parts, self._options.neighbours)

    def _look(self, observation: Observation, envs: np.ndarray, *, touch: bool) -> Neighbours:
        """What is retrieved beside some environments' observations. `[R, ...]`."""
        found = self._retrieve(observation, envs, self._episodes, touch=touch)
        dropped = self._dropped.numpy()[envs, None]
        return replace(found, shown=torch.from_numpy(found.shown.numpy() & ~dropped))

    def _shown(self, found: Neighbours, observation: Observation) -> dict[str, Tensor]:
        """Tokens `[R, K, F]`, which of them are there `[R, K]`, perhaps how good each action has been `[R, A]`."""
        tokens = self._describe(found, torch.from_numpy(self._situations.places(observation)))
        parts = {NEIGHBOURS: tokens.to(self._device), SHOWN: found.shown.to(self._device)}
        if self._action_returns:
            values, distances, confidence, shown = (
                part[:, : self._options.neighbours]
                for part in (found.values, found.distances, found.confidence, found.shown)
            )
            _, _, returns, _, actions, _ = (values[..., part] for part in self._columns)
            good = self._action_returns(actions, returns.squeeze(2), distances, confidence * shown)
            parts[ACTION_RETURNS] = good.to(self._device)
        return parts

    # ---- writing

    @torch.no_grad()
    def observe(self, transition: Transition) -> None:
        """Lose confidence in what was expected here and did not come; write the episodes that ended."""
        if not self._writes:
            return
        self._note_outcome(transition)
        ended = self._ended(transition) if self._options.neighbours else None
        if transition.done.any():
            self._write(np.flatnonzero(transition.done), ended)

    def _ended(self, transition: Transition) -> Returns:
        """The steps of the episodes that end with this one; the others are held."""
        situations = self._situations
        held = {
            "view": situations.keys(transition.observation).numpy(),
            "place": situations.places(transition.observation),
            "name": situations.identities(transition.observation),
            "action": self._coded(transition.action),
            "stream": self._envs,
        }
        if situations.has_context:
            held["context"] = situations.contexts(transition.observation)
        unused, follows = np.zeros(len(self._envs), np.int64), self._follows(transition)
        return self._returns.push(held, unused, transition.reward, transition.done, follows)

    def _coded(self, action: np.ndarray) -> np.ndarray:
        """Actions as rows of numbers. `[E, ...]` to `[E, A]`."""
        if self._codes is None:
            return self._code(torch.from_numpy(action)).numpy()
        codes, start = self._codes
        return codes[action - start]

    def _follows(self, transition: Transition) -> np.ndarray:
        """What follows where an episode was cut, by what is remembered or else as it went; 0 elsewhere. `[E]`."""
        follows = np.zeros(len(self._envs))
        cut = np.flatnonzero(transition.truncated & ~transition.terminated)
        if self._options.bootstrap and len(cut):
            final, mask = rows_of(transition.next_observation, cut), rows_of_mask(transition.next_mask, cut)
            best = self._continuing(self.memory, final, cut, mask)
            follows[cut] = np.where(np.isfinite(best), best, self._returns.going_on(transition.reward)[cut])
        return follows

    def _note_outcome(self, transition: Transition) -> None:
        rewarded = transition.reward > 0
        where = self._situations.places(transition.next_observation)
        contexts = self._situations.contexts(transition.next_observation)
        self._outcome[rewarded], self._rewarded[rewarded] = where[rewarded], True
        self._contexts[rewarded] = contexts[rewarded]
        if not self._options.reward_sites:
            return
        in_vain = np.flatnonzero(~rewarded)
        sites = self.memory.find(self._entries.site_names(self._envs[in_vain], where[in_vain], contexts[in_vain]))
        if (sites >= 0).any():
            self.memory.contradict(sites, self._options.refuted)

    def _write(self, envs: np.ndarray, ended: Returns | None) -> None:
        """Write the episodes of these environments: their steps, and where they found reward."""
        batches = [self._steps(ended)] if ended else []
        finders = envs[self._rewarded[envs]] if self._options.reward_sites else envs[:0]
        if len(finders):
            about = (self._outcome[finders], self._episodes[finders], self._contexts[finders])
            batches.append(self._entries.sites(finders, *about))
        if batches:
            _, met, who = batches[0]  # the steps, if there are any; a reward site is worth its reward, always
            column = self._situations.place_size + 1 if ended else None
            self._noted = met_again(self.memory, met, who, column)
            keys, values, names = (_joined(parts) for parts in zip(*batches, strict=True))
            slots = self.memory.write(keys, values, identity=names, present=self._entries.given(keys))
            if len(finders) and self._options.separate:
                self._retrieve.sites.enter(finders, self._contexts[finders])  # a step may have led to another
                self._retrieve.sites.written(self.memory, finders, slots[-len(finders) :])
        self._begin(envs)

    def _steps(self, ended: Returns) -> Rows:
        """Rows for the steps of the episodes that ended."""
        ended, names = self._entries.latest(ended)
        if self._action_returns:
            self._action_returns.note(ended.target)
        return self._entries.steps(ended, names, self._outcome, self._rewarded, self._episodes)

    def _begin(self, envs: np.ndarray) -> None:
        """These environments begin an episode, after their last was written."""
        if self._writes:
            self.memory.tick(len(envs) / len(self._episodes))
        if self._options.separate:
            self._episodes[envs] += 1
        else:
            self._episodes += len(envs) / len(self._episodes)
        self._rewarded[envs] = False
        self._dropped[envs] = torch.rand(len(envs), generator=self._generator) < self._options.memory_dropout
        self._retrieve.sites.outdate(envs if self._options.separate else self._envs)

    # ---- acting elsewhere, for a learner that writes

    def knowledge(self) -> dict[str, Any]:
        """The memory, and what its answers are judged by."""
        returns = self._action_returns.state_dict() if self._action_returns else None
        return {"memory": self.memory.state_dict(), "action_returns": returns, "episodes": self._episodes.copy()}

    def know(self, knowledge: dict[str, Any], rows: np.ndarray) -> None:
        """Read what the learner knows, for these of its environments. `[B]`."""
        self.memory.load_state_dict(knowledge["memory"])
        if self._action_returns:
            self._action_returns.load_state_dict(knowledge["action_returns"])
        self._writes, self._envs, self._episodes = False, rows, knowledge["episodes"].copy()
        of = len(self._episodes)
        self._rewarded = np.zeros(of, bool)
        if len(self._dropped) != of:
            self._dropped = torch.zeros(of, dtype=torch.bool)
        self._retrieve.sites = self._retrieve.sites.anew(of, rows)

    def noted(self) -> dict[str, Any]:
        """Which entries were looked up, and which environments were shown nothing."""
        assert self._acted_on is not None
        used = names_of(self.memory, self._acted_on.asked[:, : self._options.neighbours])
        return {"used": used, "dropped": self._dropped[self._envs]}

    def note(self, noted: dict[str, Any]) -> None:
        """Count as used what copies looked up; values are read where they were shown something."""
        use(self.memory, noted["used"])
        self._dropped = noted["dropped"].clone()

    def follow(self, transition: Transition) -> None:
        """Episodes begin; what came of the last ones is written by the learner."""
        if transition.done.any():
            self._begin(self._envs[transition.done])

    def acting_state(self) -> dict[str, Any]:
        """In which episodes nothing is shown, and what that and a control are drawn from."""
        control = self._retrieve.control
        drawn = {"generator": self._generator.get_state(), "control": control.state_dict() if control else {}}
        return {"dropped": self._dropped.clone(), **drawn}

    def load_acting_state(self, state: dict[str, Any]) -> None:
        """Restore what `acting_state` gave."""
        self._dropped = state["dropped"].clone()
        self._generator.set_state(state["generator"])
        if self._retrieve.control:
            self._retrieve.control.load_state_dict(state["control"])

    # ---- keeping

    def player(self, num_envs: int) -> MemoryInput:
        """One for other environments: with an empty memory of its own if worlds are separate, else reading this one."""
        control = self._retrieve.control
        own = {
            "generator": copied(self._generator),
            "control": control.copied() if control else None,
            "options": replace(self._options, memory_dropout=0.0),
            "num_envs": num_envs,
        }
        other = MemoryInput(**(self._built_from | own))
        if not self._options.separate:
            other.memory = other._retrieve.memory = self.memory
            other._action_returns, other._writes = self._action_returns, False
            other._episodes[:] = self._episodes[0]
        return other

    def begin_episodes(self) -> None:
        """All environments begin anew: of the open episodes nothing is written."""
        self._returns.clear()
        self._rewarded[:] = False
        self._dropped[:] = False

    def close(self) -> None:
        """End what lies in shards."""
        if isinstance(self.memory, ShardedMemory):
            self.memory.close()

    def metrics(self) -> dict[str, float]:
        """Size and evictions; how near lookups hit; age in episodes and confidence of what was shown last."""
        metrics = {"memory/size": float(len(self.memory)), "memory/evictions": float(self.memory.evictions)}
        if isinstance(self.memory, ShardedMemory):
            metrics["memory/lost"] = float(self.memory.lost)
        usage = self.memory.usage
        if self._options.neighbours and usage.lookups:  # none are made here where only copies act
            metrics["memory/hit_distance"] = float(usage.hit_distance)
            metrics["memory/top_weight"] = float(usage.top_weight)
        if self._acted_on and (shown := self._acted_on.shown.numpy()).any():
            metrics["memory/age"] = float(self._acted_on.age.numpy()[shown].mean())
            metrics["memory/strength"] = float(self._acted_on.confidence.numpy()[shown].mean())
        noted, self._noted = self._noted, {}
        return metrics | noted

    def state_dict(self) -> dict[str, Any]:
        """The memory, the open episodes and counters."""
        arrays = {name: getattr(self, f"_{name}").copy() for name in ("episodes", "outcome", "rewarded", "contexts")}
        control = self._retrieve.control
        return {
            "memory": self.memory.state_dict(),
            "returns": self._returns.state_dict(),
            "sites": self._retrieve.sites.state_dict(),
            "dropped": self._dropped.clone(),
            "generator": self._generator.get_state(),
            "control": control.state_dict() if control else {},
            "action_returns": self._action_returns.state_dict() if self._action_returns else None,
            **arrays,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        moved = self.memory.load_state_dict(state["memory"])
        self._returns.load_state_dict(state["returns"])
        if moved is None:
            self._retrieve.sites.load_state_dict(state["sites"])
        else:
            self._retrieve.sites.clear()
        self._dropped = state["dropped"].clone()
        self._generator.set_state(state["generator"])
        if self._retrieve.control:
            self._retrieve.control.load_state_dict(state["control"])
        if self._action_returns:
            self._action_returns.load_state_dict(state["action_returns"])
        for name in ("episodes", "outcome", "rewarded"):
            setattr(self, f"_{name}", state[name].copy())
        self._contexts = state.get("contexts", np.zeros_like(self._contexts)).copy()  # older ones knew of none


def _require_fitting(memory: AnyMemory, options: RetrievalOptions, places: bool) -> None:
    """Raise unless the memory can do what retrieval asks of it; `places` says whether entries tell any."""
    forgetting, rule = memory.forgetting, memory.write_rule
    if memory.device.type != "cpu":
        raise ValueError(
            f"memory.device is {memory.device}, but what is retrieved is looked up on the processor: leave "
            f"agent.memory.device out; agent.device is where the policy computes."
        )
    refutes = options.reward_sites > 0 and options.refuted > 0
    if refutes and type(forgetting).weakened is Forgetting.weakened:
        raise ValueError(
            f"memory.forgetting is {type(forgetting).__name__}, which keeps no confidence that a reward site could "
            f"lose: use agent.memory.forgetting=confidence, or set agent.retrieval.refuted=0, which forgets it."
        )
    whole = places or not options.by_action  # numbers of an entry only mean something together
    if whole and isinstance(rule, Blend | Max | SurpriseGated):
        raise ValueError(
            f"memory.write_rule is {type(rule).__name__}, which treats each number of an entry by itself and would mix "
            f"the places, or the actions, of two: use agent.memory.write_rule=last."
        )


def _joined(parts: tuple[Any, ...]) -> Any:
    """Rows after rows."""
    if len(parts) == 1:
        return parts[0]
    return map_observation(lambda *rows: torch.cat(rows), *parts)


MOST_CODES = 1024
"""Choices of which each has its row ready."""


def _codes_of(space: spaces.Space, code: Flatten) -> tuple[np.ndarray, int] | None:
    """The row of each of a few choices, by its number from the first on, `[n, A]`, and which that is."""
    if not isinstance(space, spaces.Discrete) or space.n > MOST_CODES:
        return None
    choices = torch.arange(int(space.start), int(space.start + space.n))
    return code(choices).numpy(), int(space.start)
