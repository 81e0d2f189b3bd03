"""Episodic memory: a differentiable neural dictionary with incomplete-hash keys, usable without any agent."""
