"""What surrounds an agent in a run: construction, rollout, evaluation, logging, checkpoints, statistics."""
