"""A memory as a state and as a file."""
