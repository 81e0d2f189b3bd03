"""Hydra configuration: one YAML a thing, each opens with the command that uses it."""
