"""`alexnet visualize` through Click's runner: what is written, what is printed, and how it ends."""

import json
from functools import partial

import numpy as np
import pytest
from invoking import invoke
from PIL import Image
from tiers import rest_slow


@pytest.fixture
def visualize(trained, monkeypatch):
    """Runs a command in the folder of the finished run `tiny`."""
    monkeypatch.chdir(trained[0])
    return partial(invoke, "visualize")


@pytest.fixture
def photo(tmp_path):
    """An image of the user's own."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["kernels", "--scaling", "global"], "kernels.png"),
        (["kernels", "--over-time"], "kernels-over-time.png"),
        pytest.param(
            ["kernels", "--over-time", "--scaling", "global"], "kernels-over-time.png", marks=pytest.mark.slow
        ),
        (["architecture"], "architecture.png"),
        (["towers"], "towers.png"),
        (["activations"], "activations-conv1.png"),
        pytest.param(
            ["activations", "--layer", "relu5", "--seed", "3", "--scaling", "global"],
            "activations-relu5.png",
            marks=pytest.mark.slow,
        ),
        pytest.param(["saliency", "--count", "1"], "saliency.png", marks=pytest.mark.slow),
        pytest.param(["saliency"], "saliency.png", marks=pytest.mark.slow),
        pytest.param(
            ["saliency", "--count", "5", "--seed", "3", "--class", "green"], "saliency.png", marks=pytest.mark.slow
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_figure_is_written_into_the_run_or_to_the_file_named(visualize, trained, tmp_path, arguments, file):
    place = trained[0] / "saved_models/tiny/figures" / file
    place.unlink(missing_ok=True)
    result = visualize(*arguments)
    assert result.exit_code == 0, result.stderr
    assert place.is_file() and f"Wrote saved_models/tiny/figures/{file}" in result.stdout
    assert visualize(*arguments, "tiny", "--out", tmp_path / "picture.pdf").exit_code == 0
    assert (tmp_path / "picture.pdf").stat().st_size > 1000


def test_the_network_of_a_recipe_needs_no_run(alexnet, tmp_path):
    result = alexnet("visualize", "architecture", "--recipe", "quickstart", "--out", tmp_path / "figure-2.png")
    assert result.exit_code == 0 and (tmp_path / "figure-2.png").stat().st_size > 10_000


def test_towers_prints_the_numbers_and_what_they_do_not_say(visualize, tmp_path):
    result = visualize("towers", "--out", tmp_path / "towers.png")
    assert "Mann-Whitney" in result.stdout and "no independent replicates" in result.stdout
    printed = json.loads(visualize("towers", "--out", tmp_path / "towers.png", "--json").stdout)
    assert printed["picture"] == str(tmp_path / "towers.png")
    assert [len(tower["shares"]) for tower in printed["towers"]] == [6, 6]
    assert {difference["more"] for difference in printed["differences"]} <= {"a", "b"}
    for tower in printed["towers"]:
        assert f"{tower['median']:.3f}" in result.stdout and f"{tower['weighted_mean']:.3f}" in result.stdout


@pytest.mark.parametrize("what", rest_slow(("activations", "saliency")))
def test_an_image_of_the_users_own(visualize, tmp_path, photo, what):
    result = visualize(what, "--image", photo, "--out", tmp_path / "picture.png")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "picture.png").is_file()


@pytest.mark.slow
def test_several_images_of_the_users_own(visualize, tmp_path, photo):
    arguments = ["--image", photo, "--image", photo, "--out", tmp_path / "picture.png"]
    assert visualize("saliency", *arguments).exit_code == 0
    two = Image.open(tmp_path / "picture.png").height
    visualize("saliency", "--image", photo, "--out", tmp_path / "picture.png")
    assert two > 1.8 * Image.open(tmp_path / "picture.png").height


@pytest.mark.slow
def test_where_there_are_fewer_images_than_asked_for_all_are_drawn_and_that_is_said(visualize, tmp_path):
    for count, noted in ((13, True), (12, False)):
        drawn = visualize("predictions", "--count", count, "--out", tmp_path / "picture.png")
        assert drawn.exit_code == 0 and ("All 12 images of the split are drawn." in drawn.stderr) == noted


@pytest.mark.slow
def test_the_seed_chooses_the_image(visualize, tmp_path):
    written = []
    for seed in (1, 1, 2):
        visualize("saliency", "--count", "1", "--seed", seed, "--out", tmp_path / "picture.png")
        written.append(np.asarray(Image.open(tmp_path / "picture.png").convert("RGB").resize((300, 300))))
    assert (written[0] == written[1]).all() and not (written[0] == written[2]).all()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["activations", "--layer", "conv9"], 2, "no layer 'conv9'"),
        (["activations", "--layer", "fc7"], 2, "conv1, "),
        (["activations", "--layer", "../conv1"], 2, "no layer"),
        (["activations", "--image", "nowhere.jpg"], 2, "nowhere.jpg"),
        (["activations", "--image", "tiny.toml"], 3, "tiny.toml"),
        (["activations", "--image", "saved_models"], 3, "saved_models"),
        (["activations", "--image", "nowhere.jpg", "--seed", "2"], 2, "leave out"),
        (["activations", "--out", "picture.txt"], 2, ".png"),
        (["saliency", "--image", "nowhere.jpg", "--count", "2"], 2, "leave out --count"),
        (["saliency", "--class", "violet"], 2, "the classes are blue, green, red"),
        (["saliency", "--count", "20"], 3, "12 images"),
        (["saliency", "--data", "nowhere"], 2, "nowhere"),
        (["architecture", "tiny", "--recipe", "source"], 2, "leave RUN out"),
        (["architecture", "--recipe", "nothing", "--out", "x.png"], 2, "There is no recipe 'nothing'"),
        (["kernels", "--scaling", "loud"], 2, "loud"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_drawn_is_one_sentence(visualize, arguments, code, said):
    result = visualize(*arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr and "Traceback" not in result.stderr and result.stdout == ""


def test_a_run_that_kept_no_kernels_is_reported(visualize, trained):
    kernels = trained[0] / "saved_models/tiny/kernels"
    kernels.rename(kernels.with_name("elsewhere"))
    try:
        result = visualize("kernels", "tiny", "--over-time")
        assert result.exit_code == 2 and "kept no kernels" in result.stderr
    finally:
        kernels.with_name("elsewhere").rename(kernels)
