"""Episodic recall for a policy: what past episodes say about the present situation, from the project's memory.

Two questions are put to one memory, each an incomplete key. "What came of being here?" gives the view and leaves the
time open; "where was reward found?" gives no place at all, only that reward came, and the time: the latest first.
What is remembered of an episode is written when it ends, so that nothing of the present one can be found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.controls import Control, Neighbours
from engram_rl.agents.entries import PASSAGE, Entries, Rows
from engram_rl.agents.networks import Numbers
from engram_rl.agents.observations import map_observation
from engram_rl.agents.promises import met_again
from engram_rl.agents.recalled import Recalled, Shown, in_plain_numbers
from engram_rl.agents.returns import MonteCarloReturns, Returns
from engram_rl.agents.seeding import copied
from engram_rl.agents.sites import Sites, trust_in
from engram_rl.agents.situations import Situations
from engram_rl.agents.tokens import Tokens
from engram_rl.agents.votes import Ballot
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.forgetting import Forgetting
from engram_rl.memory.writing.rules import Blend, Max, SurpriseGated


class Recall:
    """Shows a policy what past episodes say, as tokens of K neighbours: an `engram_rl.agents.inputs.ExtraInput`.

    What a token says is told by `engram_rl.agents.tokens.Tokens`. A place of reward visited in vain loses trust.

    Args:
        situations: Reads keys and places from observations.
        make_memory: An empty memory over `key_space`, with values of `value_size`.
        action_space: Of one environment.
        num_envs: E.
        separate: Whether each environment has a world of its own, so that only its own episodes are recalled.
        here: Entries recalled by the present situation.
        found: Places recalled as those where reward was found.
        discount: Per step, of the returns that are remembered.
        refuted: Factor of the trust in a place of reward that is visited in vain.
        least_trust: Entries trusted less are as if forgotten: they are not shown.
        hide: Probability that nothing is shown for a whole episode, so that acting without memory is learned too; in
            the manner of neighbour randomisation (Humphreys et al. 2022). Players always see.
        generator: Draws in which episodes nothing is shown.
        by_action: Whether a situation in which another action was taken is another entry.
        votes: Whether to show, beside tokens, how good each action has been in situations like this one (`Ballot`).
        control: What is done to recall on purpose, for comparison.
        device: Where the policy is; entries stay on the memory's.

    Raises:
        ValueError: Nothing is to be recalled, or places are where observations tell none, or the memory cannot lose
            trust in places, or would mix entries when one is written again.
    """

    TOKENS, VALID, VOTES = "neighbours", "recalled", "votes"

    def __init__(
        self,
        *,
        situations: Situations,
        make_memory: Callable[[], DifferentiableNeuralDictionary],
        action_space: spaces.Space,
        num_envs: int,
        separate: bool,
        here: int,
        found: int,
        discount: float,
        refuted: float,
        least_trust: float,
        hide: float,
        generator: torch.Generator,
        by_action: bool,
        votes: bool,
        control: Control,
        device: torch.device | str = "cpu",
    ) -> None:
        if here < 0 or found < 0 or here + found == 0:
            raise ValueError(f"Recall of here={here} and found={found} entries: at least one of them must be above 0.")
        if found and not situations.place_size:
            raise ValueError(
                f"found={found} places of reward cannot be recalled, as observations do not say where the agent is: "
                f"set found=0, or read places from columns (view=places)."
            )
        self._built_from = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.memory = make_memory()
        _require_fitting(self.memory, found > 0 and refuted > 0, whole=situations.place_size > 0 or not by_action)
        self._writes, self._device = True, device
        self._situations, self._control = situations, control
        self._separate, self._here, self._found, self._refuted = separate, here, found, refuted
        self._least_trust = least_trust
        self._ballot = Ballot() if votes else None
        self._hide, self._generator = hide, generator
        self._code = Numbers(action_space)
        self._returns = MonteCarloReturns(discount, num_envs)
        P, A = situations.place_size, self._code.size
        self._entries = Entries(situations, A, separate=separate, sites=found > 0, by_action=by_action)
        self._describe = Tokens(here=here, found=found, places=P, actions=A, reach=situations.reach)
        self.neighbours, self.token_size = here + found, self._describe.size
        self.return_column = self._describe.return_column
        self._streams = np.arange(num_envs)
        self._episodes = np.zeros(num_envs)  # [E] ended so far in its world; in a shared one the mean of all
        self._outcome = np.zeros((num_envs, P), np.float32)  # [E, P] where the present episode found reward
        self._rewarded = np.zeros(num_envs, bool)  # [E] whether it did
        self._sites = Sites(self._entries, found, num_envs)
        self._hidden = torch.zeros(num_envs, dtype=torch.bool)  # [E] whether nothing is shown in the present episode
        self._shown: Shown | None = None  # when acting last
        self._noted: dict[str, float] = {}  # of what was written since `metrics`

    # ---- reading

    @torch.no_grad()
    def read(self, observation: Observation, *, explore: bool) -> dict[str, Tensor]:
        """Tokens `[E, K, F]` and which of them are there `[E, K]`."""
        self._sites.refresh(self.memory, self._episodes)
        shown = self._look(observation, self._streams, touch=explore)
        if explore:
            self._shown = shown
        return self._told(shown, observation)

    @torch.no_grad()
    def read_final(self, transition: Transition, rows: np.ndarray) -> dict[str, Tensor]:
        """The same beside the last observations of some environments. `[R, K, F]`, `[R, K]`."""
        final = map_observation(lambda part: part[rows], transition.next_observation)
        return self._told(self._look(final, rows, touch=False), final)

    @torch.no_grad()
    def look(self, observation: Observation, attention: Callable[[dict[str, Tensor]], Tensor]) -> Recalled:
        """What the first environment is shown, for people; nothing changes, not even what a control will draw.

        Args:
            observation: Of all environments.
            attention: From what is shown to how it is attended to, with the null token last. `[E, K + 1]`
        """
        drawn = self._control.state_dict()
        self._sites.refresh(self.memory, self._episodes)
        shown = self._look(observation, self._streams, touch=False)
        self._control.load_state_dict(drawn)
        weights = attention(self._told(shown, observation))
        return in_plain_numbers(shown, weights, self._situations.places(observation), self._describe.split, self._here)

    def _look(self, observation: Observation, streams: np.ndarray, touch: bool) -> Shown:
        """What is recalled beside some environments' observations. `[R, ...]`."""
        slots, distances = self._near(observation, streams, touch)
        shown = self._control.choose(slots, self.memory)
        neighbours = Neighbours(shown, self.memory.values[shown.clamp(min=0)], self._trust(shown, streams))
        neighbours = self._control.alter(neighbours, self.memory)
        age = torch.from_numpy(self._episodes[streams]).float().unsqueeze(1) - neighbours.values[..., -1]  # [R, K]
        there = (shown >= 0) & (neighbours.trust >= self._least_trust) & ~self._hidden[streams].unsqueeze(1)
        return Shown(neighbours, distances, age, there)

    def _told(self, shown: Shown, observation: Observation) -> dict[str, Tensor]:
        """Tokens `[R, K, F]`, which of them are there `[R, K]`, perhaps votes."""
        neighbours, distances, age, there = shown
        tokens = self._describe(neighbours, distances, torch.from_numpy(self._situations.places(observation)), age)
        read = {self.TOKENS: tokens.masked_fill(~there.unsqueeze(2), 0), self.VALID: there}
        read |= self._votes(neighbours, distances, there)
        return {name: part.to(self._device) for name, part in read.items()}

    def _votes(self, neighbours: Neighbours, distances: Tensor, there: Tensor) -> dict[str, Tensor]:
        """What the neighbours by situation say for each action. `[R, A]`."""
        if not self._ballot:
            return {}
        here = slice(0, self._here)
        _, _, returns, _, actions, _ = self._describe.split(neighbours.values[:, here])
        trust = (neighbours.trust * there)[:, here]
        return {self.VOTES: self._ballot(actions, returns.squeeze(2), distances[:, here], trust)}

    def _near(self, observation: Observation, streams: np.ndarray, touch: bool) -> tuple[Tensor, Tensor]:
        """Slots and squared distances of the neighbours, the places of reward last. `[R, K]` each."""
        sites = self._sites.of(streams)  # [R, found]
        if not self._here:
            return sites, torch.zeros(sites.shape)
        query = {"view": self._situations.keys(observation)} | self._entries.context(streams, PASSAGE)
        near = self.memory.lookup(query, self._here, touch=touch)
        if not self._found:
            return near.slots, near.distances
        none = torch.zeros(sites.shape)
        return torch.cat([near.slots, sites], 1), torch.cat([near.distances, none], 1)

    def _trust(self, slots: Tensor, streams: np.ndarray) -> Tensor:
        """How far entries are trusted: as far as the place of reward that they led to. `[R, K]`."""
        if not (self._found and self._here):
            return trust_in(self.memory, slots)
        passages = slots[:, : self._here]
        outcome, rewarded = self._describe.split(self.memory.values[passages.clamp(min=0)])[:2]
        owners = np.repeat(streams, self._here)
        led_to = self.memory.find(self._entries.site_names(owners, outcome.flatten(0, 1).numpy())).view(passages.shape)
        own = (rewarded.squeeze(2) == 0) | (passages < 0)
        return trust_in(self.memory, torch.cat([torch.where(own, passages, led_to), slots[:, self._here :]], 1))

    # ---- writing

    @torch.no_grad()
    def observe(self, transition: Transition) -> None:
        """Doubt what was promised here and did not come; write the episodes that ended."""
        if not self._writes:
            return
        self._note_outcome(transition)
        ended = self._ended(transition) if self._here else None
        if transition.done.any():
            self._write(np.flatnonzero(transition.done), ended)

    def _ended(self, transition: Transition) -> Returns:
        """The passages of the episodes that end with this step; the others are held."""
        situations = self._situations
        held = {
            "view": situations.keys(transition.observation).numpy(),
            "place": situations.places(transition.observation),
            "name": situations.identities(transition.observation),
            "action": self._code(torch.from_numpy(transition.action)).numpy(),
            "stream": self._streams,
        }
        nothing = np.zeros(len(self._streams))
        return self._returns.push(held, nothing.astype(np.int64), transition.reward, transition.done, nothing)

    def _note_outcome(self, transition: Transition) -> None:
        rewarded = transition.reward > 0
        where = self._situations.places(transition.next_observation)
        self._outcome[rewarded], self._rewarded[rewarded] = where[rewarded], True
        if not self._found:
            return
        in_vain = np.flatnonzero(~rewarded)
        sites = self.memory.find(self._entries.site_names(self._streams[in_vain], where[in_vain]))
        if (sites >= 0).any():
            self.memory.contradict(sites, self._refuted)

    def _write(self, rows: np.ndarray, ended: Returns | None) -> None:
        """Write the episodes of these environments: their passages, and where they found reward."""
        batches = [self._passages(ended)] if ended else []
        if self._found and self._rewarded[rows].any():
            finders = rows[self._rewarded[rows]]
            batches.append(self._entries.sites(finders, self._outcome[finders], self._episodes[finders]))
        if batches:
            _, met, who = batches[0]  # the passages, if there are any; places of reward promise reward, always
            self._noted = met_again(self.memory, met, who, promise=self._situations.place_size + 1 if ended else None)
            keys, values, names = (_joined(parts) for parts in zip(*batches, strict=True))
            self.memory.write(keys, values, identity=names, present=self._entries.given(keys))
        self.memory.tick(len(rows) / len(self._streams))
        if self._separate:
            self._episodes[rows] += 1
        else:
            self._episodes += len(rows) / len(self._streams)
        self._rewarded[rows] = False
        self._hidden[rows] = torch.rand(len(rows), generator=self._generator) < self._hide
        self._sites.outdate(rows if self._separate else self._streams)

    def _passages(self, ended: Returns) -> Rows:
        """Rows for the steps of the episodes that ended."""
        ended, names = self._entries.latest(ended)
        if self._ballot:
            self._ballot.note(ended.target)
        return self._entries.passages(ended, names, self._outcome, self._rewarded, self._episodes)

    # ---- keeping

    def player(self, num_envs: int) -> Recall:
        """One for other environments: with an empty memory of its own if worlds are separate, else reading this one."""
        own = {"generator": copied(self._generator), "control": self._control.copied()}
        other = Recall(**(self._built_from | own | {"num_envs": num_envs, "hide": 0.0}))
        if not self._separate:
            other.memory, other._ballot, other._writes = self.memory, self._ballot, False
            other._episodes[:] = self._episodes[0]
        return other

    def begin_episodes(self) -> None:
        """All environments begin anew: of the open episodes nothing is written."""
        self._returns.clear()
        self._rewarded[:] = False
        self._hidden[:] = False

    def metrics(self) -> dict[str, float]:
        """Size and evictions; how near lookups hit; age in episodes and trust of what was shown last; what was met."""
        metrics = {"memory/size": float(len(self.memory)), "memory/evictions": float(self.memory.evictions)}
        if self._here:
            usage = self.memory.usage
            metrics["memory/hit_distance"] = float(usage.hit_distance)
            metrics["memory/top_weight"] = float(usage.top_weight)
        if self._shown and (there := self._shown.there.numpy()).any():
            metrics["memory/age"] = float(self._shown.age.numpy()[there].mean())
            metrics["memory/strength"] = float(self._shown.neighbours.trust.numpy()[there].mean())
        noted, self._noted = self._noted, {}
        return metrics | noted

    def state_dict(self) -> dict[str, Any]:
        """The memory, the open episodes and counters."""
        arrays = {name: getattr(self, f"_{name}").copy() for name in ("episodes", "outcome", "rewarded")}
        return {
            "memory": self.memory.state_dict(),
            "returns": self._returns.state_dict(),
            "sites": self._sites.state_dict(),
            "hidden": self._hidden.clone(),
            "generator": self._generator.get_state(),
            "control": self._control.state_dict(),
            "ballot": self._ballot.state_dict() if self._ballot else None,
            **arrays,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.memory.load_state_dict(state["memory"])
        self._returns.load_state_dict(state["returns"])
        self._sites.load_state_dict(state["sites"])
        self._hidden = state["hidden"].clone()
        self._generator.set_state(state["generator"])
        self._control.load_state_dict(state["control"])
        if self._ballot:
            self._ballot.load_state_dict(state["ballot"])
        for name in ("episodes", "outcome", "rewarded"):
            setattr(self, f"_{name}", state[name].copy())


def _require_fitting(memory: DifferentiableNeuralDictionary, doubts: bool, whole: bool) -> None:
    """Raise unless the memory can do what recall asks of it.

    Args:
        memory: Of the entries.
        doubts: Whether places of reward lose trust.
        whole: Whether the numbers of an entry only mean something together.
    """
    forgetting, rule = memory.forgetting, memory.write_rule
    if doubts and type(forgetting).weakened is Forgetting.weakened:
        raise ValueError(
            f"memory.forgetting is {type(forgetting).__name__}, which keeps no confidence that a place of reward could "
            f"lose: use memory.Confidence or memory.Decay, or set refuted=0, which forgets such a place."
        )
    if whole and isinstance(rule, Blend | Max | SurpriseGated):
        raise ValueError(
            f"memory.write_rule is {type(rule).__name__}, which treats each number of an entry by itself and would mix "
            f"the places, or the actions, of two: use memory.write_rule=last."
        )


def _joined(parts: tuple[Any, ...]) -> Any:
    """Rows after rows."""
    return map_observation(lambda *rows: torch.cat(rows), *parts)
