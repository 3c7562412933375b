"""Weights in, models out: AlexNet where its users already are."""
