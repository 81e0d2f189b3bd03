"""Environments on Ray workers: how fast, equal to one process or not, and what a killed worker costs."""
