"""Tabular agents on the parsed place, as the fast/slow agent is told it: what a reviewer would ask for first."""
