"""Figure 4: the images that its neighbours are searched in."""

from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_keras.experiments import figure_4
from alexnet_keras.experiments.lab import Lab, Options


@pytest.mark.parametrize(("most", "searched"), [(10, 10), (36, 36), (100, 36)])
def test_neighbours_are_searched_in_as_many_training_images_as_is_said(prepared, tmp_path, monkeypatch, most, searched):
    """A batch holds more than ten."""
    vectors = []

    def nearest_first(queries, among):
        vectors.append(len(among))
        return original(queries, among)

    original = figure_4.nearest_first
    monkeypatch.setattr(figure_4, "SEARCHED", most)
    monkeypatch.setattr(figure_4, "nearest_first", nearest_first)
    monkeypatch.setattr(
        figure_4, "FeatureExtractor", lambda model: lambda images: figure_4.thumbnails(np.array(images))
    )
    net = SimpleNamespace(name="net", load_model=lambda which: None)
    found = figure_4.compare_neighbors(Lab(Options(), tmp_path), net, prepared)
    assert vectors == [searched, searched]
    assert found["same_class"] == found["pixel_same_class"], "both by the same features"
