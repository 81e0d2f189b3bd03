"""One memory in shards: its entries lie on several processes or machines, and it is read and written as one."""

from engram_rl.memory.sharded.memory import AnyMemory, ShardedMemory
from engram_rl.memory.sharded.optimiser import ShardedOptimiser

__all__ = ["AnyMemory", "ShardedMemory", "ShardedOptimiser"]
