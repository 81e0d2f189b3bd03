"""Continuous actions: episodic control beside SAC and TD3 within a few thousand steps, as a share of the possible."""
