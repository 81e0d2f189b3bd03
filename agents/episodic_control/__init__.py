"""What returned in similar situations, action by action: returns, memories of actions, keys, and their errors."""
