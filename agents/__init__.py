"""Reinforcement-learning agents: one file per algorithm, each reads like its paper."""
