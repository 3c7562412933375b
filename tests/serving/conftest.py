"""A run with an index, a viewer of it, and clients of its application."""

import pytest
from untrained import untrained_run

from alexnet_keras.search import faiss_library


@pytest.fixture(scope="session")
def run(tiny, prepared, tmp_path_factory):
    """A run whose model was not trained, which nothing here minds, with an index of its training images."""
    from alexnet_keras.search.codes import CodeOptions
    from alexnet_keras.search.index import build
    from alexnet_keras.search.store import RunFeatures

    faiss_library()
    run = untrained_run(tmp_path_factory.mktemp("served") / "tiny", tiny, prepared)
    features = RunFeatures(run)
    build(run.search_path / "train", features.store(prepared, "train"), CodeOptions(8, 1, 0), None)
    return run


@pytest.fixture(scope="session")
def viewer(run, prepared):
    from alexnet_keras import Classifier
    from alexnet_keras.serving.viewer import NearestImages, Viewer

    classifier = Classifier(run)
    return Viewer(classifier, NearestImages(run, classifier.model, prepared))


@pytest.fixture
def client(viewer):
    """Flask's client: requests without a network."""
    from alexnet_keras.serving.server import application

    return application(viewer).test_client()
