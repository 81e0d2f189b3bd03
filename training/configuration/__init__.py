"""What a configuration may hold (types, values, code), and what is said of a value that it may not."""
