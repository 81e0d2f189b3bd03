"""Which entry makes room: one file a policy."""
