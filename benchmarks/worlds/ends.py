"""Ways to end an episode: each a function of arrival, steps and limit to terminated and truncated.

What arrives and does not end begins at an end of the corridor again, within the episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

End = Callable[[bool, int, int], tuple[Any, Any]]

ENDS: dict[str, End] = {
    "goal": lambda arrived, steps, limit: (arrived, steps >= limit and not arrived),
    "cut_only": lambda _, steps, limit: (False, steps >= limit),
    "never": lambda *_: (False, False),
    "limit_is_end": lambda arrived, steps, limit: (arrived or steps >= limit, False),
    "both_at_once": lambda arrived, steps, limit: (arrived, arrived or steps >= limit),
    "numpy_truths": lambda arrived, steps, limit: (np.bool_(arrived), np.array(steps >= limit and not arrived)),
    "numbers": lambda arrived, steps, limit: (int(arrived), int(steps >= limit and not arrived)),
}
