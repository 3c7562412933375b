"""Runs whose networks were not trained, which few tests mind."""

from alexnet_keras import AlexNet
from alexnet_keras.runs import Run


def untrained_run(path, recipe, prepared, /, seed=3, **facts):
    """A finished run on prepared data, with a network that knows nothing; more facts, or others than its own."""
    facts = {"classes": list(prepared.classes), "data": prepared.facts, "status": "finished", "seed": seed, **facts}
    run = Run.create(path, recipe, facts)
    AlexNet(recipe, classes=len(facts["classes"]), seed=seed).save(run.model_path)
    return run
