"""From a recipe and a prepared dataset to a trained run."""
