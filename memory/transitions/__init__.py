"""(state, action) -> next state: a table of what was experienced, and what plans on it."""
