"""What an agent needs that goes for a goal: where it is, where to go, which way, and what it has tried."""
