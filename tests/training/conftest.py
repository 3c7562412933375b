"""A finished toy run that several tests compare with."""

import pytest
from toy_runs import new_run, trainer


@pytest.fixture(scope="session")
def one_device(prepared, tiny, tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("runs") / "one", tiny)
    history = trainer(run, prepared).fit()
    return run, history
