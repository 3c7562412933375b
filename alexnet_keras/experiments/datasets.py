"""Which prepared dataset an experiment works on."""

from pathlib import Path

from alexnet_keras.data.prepared import PreparedDataset, latest_prepared, open_prepared
from alexnet_keras.experiments.lab import Lab


def chosen_data(lab: Lab) -> PreparedDataset:
    """The one that `--data` names, or the latest.

    Raises:
        UsageError: there is none.
        AlexNetError: another process is preparing it anew.
    """
    return opened(lab, latest_prepared() if lab.request.data is None else lab.request.data)


def opened(lab: Lab, name: str | Path) -> PreparedDataset:
    """A dataset, which no other process prepares anew as long as the experiment runs.

    Raises:
        UsageError: there is none of this name.
        AlexNetError: another process is preparing it anew.
    """
    data = open_prepared(name)
    lab.holding.enter_context(data.reading())
    return open_prepared(data.path)
