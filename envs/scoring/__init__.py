"""How well anybody's agent follows targets that shift: worlds, recorded episodes, measures, and rows that others check.

rows = evaluate(play, "HiddenGoal", seeds=range(10), agent="mine")      # play(env, seed) goes on until env.finished
write_rows("mine.jsonl", rows)
"""

from engram_rl.envs.scoring.checking import complaints
from engram_rl.envs.scoring.episodes import EpisodeLog, EpisodeRecord
from engram_rl.envs.scoring.playing import UnfinishedRunError, evaluate, write_rows
from engram_rl.envs.scoring.rows import FIELDS, SCHEMA, Row
from engram_rl.envs.scoring.worlds import WORLDS, World

__all__ = [
    "FIELDS",
    "SCHEMA",
    "WORLDS",
    "EpisodeLog",
    "EpisodeRecord",
    "Row",
    "UnfinishedRunError",
    "World",
    "complaints",
    "evaluate",
    "write_rows",
]
