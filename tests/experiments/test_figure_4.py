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


def test_chance_is_that_of_the_queries_there_are(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(figure_4, "FeatureExtractor", lambda model: lambda images: np.zeros((len(images), 2)))
    batch = SimpleNamespace(
        features=np.zeros((10, 2)), labels=np.repeat([0, 1], [9, 1]), images=np.zeros((10, 16, 16, 3))
    )
    monkeypatch.setattr(figure_4, "feature_batches", lambda *_: [batch])
    queries = np.zeros((4, 16, 16, 3)), np.array([0, 0, 1, 1]), None
    monkeypatch.setattr(figure_4, "some_images", lambda *_, **__: queries)
    net = SimpleNamespace(name="net", load_model=lambda which: None)
    found = figure_4.compare_neighbors(Lab(Options(), tmp_path), net, prepared)
    assert found["chance"] == pytest.approx(0.5), "0.9 and 0.1, of which there are as many"


def test_fewer_validation_images_than_the_figure_shows_are_all_shown(prepared, tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(figure_4, "QUERIES", 1000)
    monkeypatch.setattr(Lab, "predictions", lambda *_: None)
    monkeypatch.setattr(figure_4, "predicted_images", lambda *_: [])
    monkeypatch.setattr(figure_4, "draw_predictions", lambda *_: None)
    monkeypatch.setattr(figure_4, "nearest_training_images", lambda model, images, *_: images)
    monkeypatch.setattr(figure_4, "draw_neighbors", lambda queries, found, *_: shown.update(queries=queries))
    net = SimpleNamespace(load_model=lambda which: None)
    figure_4.draw_halves(Lab(Options(), tmp_path), net, prepared)
    assert len(shown["queries"]) == prepared.examples("val")


@pytest.mark.parametrize(("examples", "more"), [(20_000, {}), (20_001, {"searched": 20_000})])
def test_what_was_searched_in_more_images_is_not_taken_for_it(tmp_path, monkeypatch, examples, more):
    """Version 0.1 searched in whole batches; what it kept of sets that need no choice stays valid."""
    monkeypatch.setattr(Lab, "kept", lambda lab, name, inputs, compute: inputs)
    monkeypatch.setattr(figure_4, "known_sha256", lambda path: "model")
    data = SimpleNamespace(fingerprint="data", examples=lambda split: examples)
    inputs = figure_4._kept(Lab(Options(), tmp_path), SimpleNamespace(last_model_path=None), data, 1)
    assert inputs == {"model": "model", "data": "data", "queries": 200} | more
