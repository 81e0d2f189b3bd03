"""Any agents on environments whose targets shift: one command, the same layouts, a stated budget, honest tables."""
