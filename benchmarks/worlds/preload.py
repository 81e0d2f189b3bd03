"""What every run needs, imported once: processes that are forked from here begin at once."""

import matplotlib.figure  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import benchmarks.worlds.measure
import engram_rl.agents.fast_slow
import engram_rl.agents.mfec
import engram_rl.agents.nec
import engram_rl.agents.retrieval_ppo
import engram_rl.agents.self_imitation_ppo  # noqa: F401
