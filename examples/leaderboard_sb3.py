"""An agent of another library on the leaderboard: `python -m examples.leaderboard_sb3 mine.jsonl` (extra `compare`)."""

from __future__ import annotations

import sys

from stable_baselines3 import PPO

from engram_rl.envs.scoring import EpisodeLog, evaluate, write_rows


def play(env: EpisodeLog, seed: int) -> None:
    """PPO with its own settings lives through a run; it resets by itself, until the last episode has ended."""
    PPO("MlpPolicy", env, seed=seed, device="cpu").learn(env.most_steps or 1_000_000, lambda *_: not env.finished)


if __name__ == "__main__":
    rows = evaluate(play, "HiddenGoal", range(10), agent="PPO of SB3", source="python -m examples.leaderboard_sb3")
    write_rows(sys.argv[1], rows)
