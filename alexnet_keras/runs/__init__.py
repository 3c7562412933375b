"""Runs: the directories under saved_models/ (`run`), and which of them a name means, on which data (`find`)."""

from alexnet_keras.runs.find import as_run, check_classes, data_of, latest_run, names_of, new_run_path, published_run
from alexnet_keras.runs.run import IMPORTED, LOCK, Run, all_runs, best_epoch, check_new

__all__ = [
    "IMPORTED",
    "LOCK",
    "Run",
    "all_runs",
    "as_run",
    "best_epoch",
    "check_classes",
    "check_new",
    "data_of",
    "latest_run",
    "names_of",
    "new_run_path",
    "published_run",
]
