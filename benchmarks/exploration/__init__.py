"""Who finds what is hard to find: returning and exploring beside bonuses for what is new."""
