"""How fast, how exact and how large the memory is, against the bare tuned search."""
