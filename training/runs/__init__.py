"""A run on disk: its folder, checkpoints, lock and owner, and putting an agent where a checkpoint was taken."""
