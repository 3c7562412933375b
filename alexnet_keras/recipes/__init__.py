"""Recipes: every constant of a network and its training, with its source."""
