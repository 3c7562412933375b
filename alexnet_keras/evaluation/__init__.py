"""Evaluation: views, predictions, errors and ensembles, and a run as a classifier of images."""
