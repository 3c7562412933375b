"""Which prepared dataset an experiment works on."""

from alexnet_keras.data.prepared import PreparedDataset, latest_prepared, open_prepared
from alexnet_keras.experiments.lab import Request


def chosen_data(request: Request) -> PreparedDataset:
    """The one that `--data` names, or the latest.

    Raises:
        UsageError: there is none.
    """
    return open_prepared(request.data) if request.data is not None else open_prepared(latest_prepared())
