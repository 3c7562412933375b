"""Experiments: what they compare, as recipes."""
