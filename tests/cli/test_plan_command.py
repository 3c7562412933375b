"""`alexnet info plan`: what it prints and refuses."""

import json
from functools import partial

import pytest
from click import testing
from invoking import invoke

from alexnet_keras.benchmarking import plan as planning
from alexnet_keras.benchmarking.result import Measurement, Repeat
from alexnet_keras.machine import this_machine
from alexnet_keras.recipes.toml import to_toml

plan = partial(invoke, "info", "plan")


@pytest.fixture
def surveyed(monkeypatch):
    """Fixed measurements of ImageNet's count: 650 images/s prepared, 2,400 read, 59 trained by `source` in float32."""
    asked = []

    def survey(recipes, precisions, **more):
        asked.append(([recipe.name for recipe in recipes], list(precisions), more))
        train, prepare, read = (
            Measurement(what, "CPU", (Repeat(rate, 1.0),), peak_bytes=3 * 2**30, base_bytes=2**30)
            for what, rate in (("steps", 59), ("2048 images, generated JPEG of 500x375", 650), ("crops", 2400))
        )
        training = {(recipes[0].name, precision): train for precision in precisions}
        return planning.Survey(this_machine(), planning.IMAGENET, prepare, read, training, 120.0)

    monkeypatch.setattr(planning, "survey", survey)
    return asked


def test_all_recipes_in_two_precisions_are_planned_for_imagenet(surveyed):
    result = plan()
    assert result.exit_code == 0, result.stderr
    recipes, precisions, more = surveyed[0]
    assert {"source", "paper", "modern", "caffe", "torchvision"} <= set(recipes)
    assert precisions == ["float32", "mixed_bfloat16"] and more["source"] is more["data"] is None
    for said in ("1,281,167 train, 50,000 val", "0.57 hours", "51.92 GB", "261.85 GB", "251.89 GB", "10,010"):
        assert said in result.stdout, said
    assert "five to six days on two GTX 580" in result.stdout and "~ had no time" in result.stdout


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (25, ("0.038 seconds", "4.92 MB", "seconds an epoch", "minutes")),
        (9_469, ("14.6 seconds", "1.86 GB", "minutes an epoch", "hours")),
    ],
)
def test_times_and_sizes_of_few_images_are_in_small_units(surveyed, monkeypatch, images, expected):
    few = planning.Workload("photos", {"train": images}, 2, 40_000.0, False)
    monkeypatch.setattr(planning, "IMAGENET", few)
    printed = plan("--recipe", "source", "--precision", "float32").stdout
    assert "Medians of 1 repeat with" in printed
    for said in expected:
        assert said in printed, printed


def test_at_80_columns_no_line_is_longer(surveyed, monkeypatch):
    monkeypatch.setattr(testing._NamedTextIOWrapper, "isatty", lambda stream: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    printed = plan().stdout
    assert "251.89 GB" in printed and "torchvision ~" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_json_has_the_plan_and_its_measurements(surveyed):
    printed = json.loads(plan("--recipe", "paper", "--precision", "float32", "--json").stdout)
    assert [each["recipe"] for each in printed["training"]] == ["paper"] and printed["training"][0]["epochs"] == 90
    assert printed["survey"]["workload"]["images"]["train"] == 1_281_167
    assert printed["prepare_hours"]["median"] == pytest.approx(1_331_167 / 650 / 3600)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photos", "--imagenet"], "SOURCE, --data and --imagenet exclude each other"),
        (["--data", "nowhere"], "nowhere"),
        (["nowhere"], "no folder nowhere"),
        (["--recipe", "vgg"], "vgg"),
        (["--recipe", "source", "--recipe", "source"], "Two recipes are called 'source'"),
    ],
)
def test_what_does_not_exist_is_one_sentence_before_anything_is_measured(surveyed, alexnet, arguments, said):
    result = plan(*arguments)
    assert result.exit_code == 2 and said in result.stderr and result.stdout == "" and not surveyed


@pytest.mark.slow
def test_a_prepared_dataset_is_planned_from_its_own_measurement(prepared, tiny, tmp_path):
    (tmp_path / "tiny.toml").write_text(to_toml(tiny))
    options = ["--recipe", tmp_path / "tiny.toml", "--precision", "float32", "--repeats", 1, "--json"]
    result = plan("--data", prepared.path, *options)
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["prepare_hours"] is None and printed["training"][0]["steps"] == 5
    assert printed["survey"]["training"][0]["what"].startswith("training steps of the recipe source")
