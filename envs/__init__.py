"""Environments whose targets shift, their limits, and a wrapper that makes any target shift."""
