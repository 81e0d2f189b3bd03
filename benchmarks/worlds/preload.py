"""What every run needs, imported once: processes that are forked from here begin at once."""

from importlib import import_module

for name in (
    "matplotlib.figure",
    "torch.utils.tensorboard",
    "benchmarks.worlds.measure",
    "engram_rl.agents.fast_slow",
    "engram_rl.agents.go_explore",
    "engram_rl.agents.mfec",
    "engram_rl.agents.nec",
    "engram_rl.agents.retrieval_ppo",
    "engram_rl.agents.self_imitation_ppo",
):
    import_module(name)
