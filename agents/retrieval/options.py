"""The values of retrieval that a YAML may give, in two groups, with the ones that nobody turns as they are."""

from __future__ import annotations

from dataclasses import dataclass

from engram_rl.memory.checks import number


@dataclass(frozen=True)
class RetrievalOptions:
    """What is retrieved of past episodes, and what is believed of it.

    Attributes:
        separate: Whether each environment is a world of its own, so that only its own episodes are retrieved.
        neighbours: Entries retrieved by their nearness to the present situation; on open grids the reward sites say it
            all.
        reward_sites: Places retrieved as those where reward was found, the latest and most credible.
        memory_dropout: Probability that nothing is shown for a whole episode of training, so that acting without memory
            is learned too; in the manner of neighbour randomisation (Humphreys et al. 2022). Players always see.
        logit_bias: Logits that retrieved returns add to an action, between the worst and the best remembered; trained
            from there on; 0 for none.
        min_confidence: Entries less credible are as if forgotten: they are not shown.
        refuted: Factor of the confidence in a reward site that is visited in vain, below 1; 0 forgets it.
        site_size: Reward found anywhere in a cell of this size, in units of a place, is of one site, and so is a visit
            in vain; where places are continuous none is ever met again exactly. 0 for places that are equal alone.
        by_action: Whether a situation in which another action was taken is another entry.
        discount: Per step, of the returns that are remembered.
        bootstrap: Whether the return of an episode that was cut goes on with what is remembered of its last situation,
            or, where nothing is, as the episode went.

    Raises:
        ValueError: Nothing is to be retrieved, or a share is not within 0 and 1.
    """

    separate: bool = True
    neighbours: int = 0
    reward_sites: int = 4
    memory_dropout: float = 0.2
    logit_bias: float = 0.0
    min_confidence: float = 0.2
    refuted: float = 0.05
    site_size: float = 0.0
    by_action: bool = False
    discount: float = 0.97
    bootstrap: bool = True

    def __post_init__(self) -> None:
        if self.neighbours < 0 or self.reward_sites < 0 or self.neighbours + self.reward_sites == 0:
            raise ValueError(
                f"Retrieval of neighbours={self.neighbours} and reward_sites={self.reward_sites} entries: at least one "
                f"of them must be above 0."
            )
        for share in ("memory_dropout", "min_confidence", "discount"):
            number(f"retrieval.{share}", getattr(self, share), 0, most=1)
        number("retrieval.refuted", self.refuted, 0, below=1, hint=": 0 forgets, a share weakens")
        number("retrieval.logit_bias", self.logit_bias, 0)
        number("retrieval.site_size", self.site_size, 0)


@dataclass(frozen=True)
class AttentionOptions:
    """How a policy reads what was retrieved (`engram_rl.agents.retrieval.attention.RetrievalAttention`).

    Attributes:
        width: Numbers in a query, key or value, over all heads.
        heads: Their number; divides the width.
        gate: What is read is multiplied by its tanh; trained from there on.
        learn_gate: Whether it is.
    """

    width: int = 32
    heads: int = 2
    gate: float = 1.0
    learn_gate: bool = True
