"""An automatic curriculum (Graves et al. 2017, arXiv 1704.03003): practise where most is being learned."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from engram_rl.memory.checks import number, whole


class Curriculum:
    """Which of N lessons to take next: a bandit (Exp3.S) that is paid by learning progress.

        pi_i = (1 - eps) softmax(w)_i + eps / N                                                        (8)
        r    = progress, from -1 at its 20 % quantile of late to 1 at its 80 % one                     (section 3.2)
        g_i  = (r [i = a] + beta) / pi_i
        w_i  = log((1 - alpha) exp(w_i + eta g_i) + alpha / (N - 1) sum_{j != i} exp(w_j + eta g_j)),  alpha = 1 / t

    Progress is whatever the caller takes for it; the paper's best are the fall of a lesson's loss by the update on it
    (`loss before - loss after`, on the same batch), and the same per unit of time where lessons take unlike long.

        curriculum = Curriculum(lessons=5)
        lesson = curriculum.draw()
        ...                                                     # take it, and learn
        curriculum.learned(lesson, before - after)

    The lessons of an environment are values of its parameters: `lesson` picks one of a list.

    Args:
        lessons: N, at least 2.
        rate: eta.
        explore: eps, the share of lessons taken at random.
        bias: beta, paid to every lesson.
        history: How many of the latest progresses the quantiles are of.
        seed: Of the draws.
    """

    def __init__(
        self,
        lessons: int,
        rate: float = 1e-2,
        explore: float = 0.05,
        bias: float = 0.0,
        history: int = 500,
        seed: int = 0,
    ) -> None:
        self.lessons = whole("lessons", lessons, 2)
        self.rate = number("rate", rate, above=0.0)
        self.explore = number("explore", explore, above=0.0, most=1.0)
        self.bias = number("bias", bias, 0.0)
        self._latest: deque[float] = deque(maxlen=whole("history", history, 2))
        self._weights = np.zeros(self.lessons)
        self._taken = 0
        self._chance = np.random.default_rng(seed)

    @property
    def probabilities(self) -> np.ndarray:
        """How probable each lesson is to be the next. `[N]`."""
        powers = np.exp(self._weights)  # the highest weight lies between log 1/2 and 0
        shares: np.ndarray = (1 - self.explore) * powers / powers.sum() + self.explore / self.lessons
        return shares

    def draw(self) -> int:
        """A lesson, from 0 to N - 1."""
        return int(self._chance.choice(self.lessons, p=self.probabilities))

    def learned(self, lesson: int, progress: float) -> None:
        """Tell what a lesson brought.

        Args:
            lesson: Which was taken.
            progress: Of any size; negative if it did harm.

        Raises:
            TypeError: It is no number.
            ValueError: There is no such lesson, or the progress is NaN or infinite.
        """
        whole("lesson", lesson, 0, self.lessons - 1)
        self._latest.append(number("progress", progress))
        self._taken += 1
        gains = np.full(self.lessons, self.bias)
        gains[lesson] += self._scaled(progress)
        raised = self._weights + self.rate * gains / self.probabilities
        powers = np.exp(raised - raised.max())
        alpha = 1 / (self._taken + 1)
        others = (powers.sum() - powers) / (self.lessons - 1)
        self._weights = np.log((1 - alpha) * powers + alpha * others)

    def _scaled(self, progress: float) -> float:
        low, high = np.quantile(self._latest, [0.2, 0.8])
        return float(np.clip(2 * (progress - low) / (high - low) - 1, -1, 1)) if high > low else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Weights, what was learned of late, and the generator."""
        return {
            "weights": self._weights.tolist(),
            "latest": list(self._latest),
            "taken": self._taken,
            "chance": self._chance.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: It is of another number of lessons.
        """
        if len(state["weights"]) != self.lessons:
            raise ValueError(f"this state is of {len(state['weights'])} lessons; the curriculum has {self.lessons}")
        self._weights = np.array(state["weights"])
        self._latest = deque(state["latest"], self._latest.maxlen)
        self._taken = int(state["taken"])
        self._chance.bit_generator.state = state["chance"]
