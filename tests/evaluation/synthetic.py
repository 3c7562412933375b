"""Predictions made up by the tests."""

from pathlib import Path

import numpy as np

from alexnet_keras.evaluation.predictions import Predictions


def made_up(name: str, skill: float, *, images=400, classes=12, seed=0, split="val", data="pictures") -> Predictions:
    """A member that sees the right class through noise of its own; the labels depend on `split` alone."""
    labels = np.random.default_rng(len(split)).integers(0, classes, images)
    logits = np.random.default_rng([seed, len(split)]).normal(size=(images, classes))
    logits[np.arange(images), labels] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    facts = {"run": name, "data": data, "data_fingerprint": data, "split": split, "views": "centre"}
    return Predictions(Path(name), facts, probabilities.astype(np.float32), labels)
