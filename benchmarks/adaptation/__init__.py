"""Adaptation without learning: train on shifting goals, freeze all weights, then measure what a shift costs."""
