"""The report of a run: what is on the page, that it is sound HTML, and that it needs nothing but itself."""

import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from untrained import untrained_run

from alexnet_keras import AlexNet
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.predictions import kept_predictions, predictions_of
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.reporter import SILENT
from alexnet_keras.reports import parts
from alexnet_keras.reports.page import photograph
from alexnet_keras.reports.parts import PARTS
from alexnet_keras.reports.reproduction import another_name, make_command, prepare_command, reproduction_commands
from alexnet_keras.reports.run_report import write_report
from alexnet_keras.runs import IMPORTED, Run

VOID = {"meta", "link", "img", "br", "hr", "input"}
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted' & <b>",
    "{{ 7 * 7 }} $\\frac{1$",
    "<img src=x onerror=alert(1)>",
    "&lt;already&gt;",
    "a" * 300,
)


class Page(HTMLParser):
    """A parsed page: its elements, its text, and whatever is wrong with its tags."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html, self.elements, self.open, self.problems, self.pieces = html, [], [], [], []
        self.feed(html)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if len({name for name, _ in attributes}) < len(attributes):
            self.problems.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.pieces.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.pieces))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def alts(self):
        return [image["alt"] for image in self.all("img")]


@pytest.fixture(scope="module")
def six(write_images, tmp_path_factory):
    """Six classes, which is one more than five, with names in words that no page may take for HTML."""
    from alexnet_keras.data.preparation import prepare
    from alexnet_keras.data.sources.folder import folder_source

    root = tmp_path_factory.mktemp("six")
    for split, count in (("train", 3), ("val", 2)):
        write_images(root / "pictures" / split, {f"class {i}": count for i in range(6)}, seed=count)
    data = prepare(folder_source(root / "pictures"), root / "six", seed=5)
    return replace(data, words=HOSTILE)


def run_on(data, recipe, path, **facts):
    """A run with a model that knows nothing, and a history that was made up."""
    known = {"recipe": recipe.name, "overrides": [], "seed": 7, "precision": "float32", "strategy": "towers"}
    known |= {"devices": ["/CPU:0", "/CPU:1"], "deterministic": True, "init_from": None}
    run = untrained_run(path, recipe, data, **{**known, **facts})
    columns = ("epoch", "seconds", "loss", "val_loss", "top1_error", "val_top1_error", "val_top5_error", "rate_weights")
    rows = ((0, 90.0, 1.5, 1.6, 0.8, 0.75, 0.1, 0.01), (1, 90.0, 1.2, 1.3, 0.6, 0.5, 0.1, 0.01))
    run.write_history([dict(zip(columns, row, strict=True)) for row in rows])
    return run


@pytest.fixture(scope="module")
def run(six, tiny, tmp_path_factory):
    """A run on six classes."""
    return run_on(six, tiny, tmp_path_factory.mktemp("runs") / "six <&> run")


@pytest.fixture(scope="module")
def page(run, six, tmp_path_factory):
    """The whole report of it, with its evaluation."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert write_report(run, six, path, now=NOON) == {}
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def predictions(page, run, six):
    """The run's predictions by views, kept since the page was made."""
    return {views: kept_predictions(run, six.fingerprint, "val", views) for views in ("centre", "ten-crop")}


def written(run, data, folder, **options):
    """A report with fewer parts, and the parts that are missing."""
    missing = write_report(run, data, folder / "report.html", **options)
    return Page((folder / "report.html").read_text(encoding="utf-8")), missing


def test_it_is_sound_html(page):
    assert page.problems == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.all("html") == [{"lang": "en"}]
    assert [len(page.all(tag)) for tag in ("title", "h1", "main", "nav")] == [1, 1, 1, 1]
    for anchor in page.all("a"):
        assert anchor["href"].removeprefix("#") in ids
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids


def test_it_needs_nothing_but_itself(page):
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy
    assert not page.all("script") and not page.all("iframe") and not page.all("object")
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert "http" not in " ".join(value or "" for name, value in attributes.items() if name != "src"), tag
    assert "url(" not in page.html and "@import" not in page.html and "http:" not in page.html


def test_a_screen_reader_has_something_to_say_of_everything(page):
    assert all(len(alt) > 15 for alt in page.alts())
    assert len(set(page.alts())) > 20
    assert all(head["scope"] in ("row", "col") for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 4
    for _, attributes in page.elements:
        if "scroll" in attributes.get("class", "").split():
            assert attributes["tabindex"] == "0" and attributes["role"] == "region" and attributes["aria-label"]


def test_names_of_classes_are_shown_as_text(page):
    for name in HOSTILE:
        assert name in page.text
    assert "<script" not in page.html and "<b>" not in page.html and "<img src=x" not in page.html
    assert "six <&> run" in page.text and "<&>" not in page.html
    assert any(alt.startswith(HOSTILE[1]) for alt in page.alts())


def test_it_has_every_part(page, run, six, predictions):
    ids = {attributes.get("id") for attributes in page.all("section")}
    assert ids == {"run", "errors", *PARTS, "recipe", "environment", "commands"}
    for said in (
        "finished",
        "2 of 2; the best, which is shown here, is number 2",
        six.fingerprint,
        "18 train, 12 val",
        "3 minutes",
        "towers: /CPU:0, /CPU:1",
        "Written 2026-01-02 12:00 UTC",
        run.facts["environment"]["tensorflow"],
        "no independent replicates",
        "expected calibration error",
        "Euclidean distances",
        "only a run on the same data compares with them",
    ):
        assert said in page.text, said
    assert len(page.alts()) == 6 + 8 + min(8, wrong(predictions["centre"])) + 5 * 7


def wrong(predictions):
    """The number of images whose likeliest class is wrong."""
    return int((predictions.probabilities.argmax(axis=1) != predictions.labels).sum())


def test_errors_stand_beside_the_papers_and_beside_chance(page, predictions):
    text = page.text.replace("\xa0", " ")
    for views, key in (("centre crop", "centre"), ("ten crops", "ten-crop")):
        errors = predictions[key].evaluation()
        row = f"This run {errors.top1.error:.1%} ({100 * errors.top1.low:.1f} to {errors.top1.high:.1%})"
        row = f"{row} {errors.top5.error:.1%} ({100 * errors.top5.low:.1f} to {errors.top5.high:.1%}) {views} 12 of val"
        assert row.replace("%", " %") in text
    assert "Guessing, 6 classes 83.3 % 16.7 %" in text
    assert "Paper, table 2, 1 CNN 40.7 % 18.2 % ten crops ILSVRC-2012 val" in text
    assert "Paper, table 1, CNN 37.5 % 17.0 % ten crops ILSVRC-2010 test" in text
    assert "Paper, section 4.1 39.0 % 18.3 % centre crop ILSVRC-2010 test" in text


@pytest.mark.slow
def test_with_five_classes_or_fewer_there_is_no_top5_error(prepared, tiny, tmp_path):
    run = run_on(prepared, tiny, tmp_path / "three")
    page, missing = written(run, prepared, tmp_path, ten_crop=False, without=("neighbors", "kernels", "towers"))
    assert page.problems == [] and missing == {}
    assert "Top-5 error" not in page.text and "the right one is always among five" in page.text
    assert "Guessing, 3 classes 66.7" in page.text
    assert "were not evaluated" in page.text, "of ten crops"
    assert "with the 3 classes that the network finds likeliest" in page.text


def test_a_misspelt_part_is_refused_before_anything_is_computed(run, six, tmp_path):
    with pytest.raises(UsageError, match="Received: without='neighbours'"):
        write_report(run, six, tmp_path / "report.html", without=["neighbours"])


@pytest.mark.slow
def test_what_is_left_out_on_request_is_not_mentioned(run, six, tmp_path):
    page, missing = written(run, six, tmp_path, without=("neighbors", "kernels", "towers", "predictions"))
    assert missing == {} and page.problems == []
    assert {attributes.get("id") for attributes in page.all("section")}.isdisjoint(["neighbors", "kernels", "towers"])
    assert "Nearest training images" not in page.text
    assert len(page.alts()) == 4


@pytest.mark.slow
def test_without_the_data_the_page_says_what_it_lacks(run, predictions, tmp_path):
    problem = "There is no prepared dataset data/six."
    page, missing = written(run, None, tmp_path, problem=problem, without=("kernels", "towers"))
    assert missing.keys() == {"predictions", "neighbors"} and page.problems == []
    assert page.text.count("There is no prepared dataset data/six.") == 3
    assert "What was computed before is shown" in page.text and "The classes with the largest errors" in page.text
    assert HOSTILE[0] in page.text, "the run remembers what its classes are called"


@pytest.mark.slow
def test_without_data_and_predictions_there_is_still_a_page(run, tmp_path):
    page, missing = written(run, None, tmp_path, split="train", problem="It is gone.")
    assert missing.keys() == {"predictions", "neighbors", "classes", "calibration"} and page.problems == []
    assert "Without the dataset its errors are not shown." in page.text and "not computed" in page.text


@pytest.mark.parametrize(("status", "said"), [("interrupted", "was interrupted"), ("diverged", "diverged")])
def test_an_unfinished_run_is_said_to_be_one(six, tiny, tmp_path, status, said):
    recipe = with_overrides(tiny, ["training.epochs=9"])
    run = run_on(six, recipe, tmp_path / "run", status=status, ended="Ctrl-C <now>")
    page, _ = written(run, None, tmp_path, without=PARTS)
    assert f"This run {said}. 2 of 9 epochs are done" in page.text and f"{status}: Ctrl-C <now>" in page.text


def test_other_data_than_the_run_was_trained_on_is_said(run, six, tmp_path):
    other = run_on(six, run.recipe, tmp_path / "other")
    other.update({"data": {**six.facts, "fingerprint": "f" * 64}})
    page, _ = written(other, six, tmp_path, ten_crop=False, without=PARTS)
    assert "which is not the one that the run was trained on" in page.text
    assert f"alexnet report other-again --data {six.path}" in page.text
    own, _ = written(run, six, tmp_path, ten_crop=False, without=PARTS)
    assert "--data" not in own.text


def test_what_was_predicted_is_found_again_for_this_model_and_this_data(six, tiny, tmp_path):
    run = run_on(six, tiny, tmp_path / "run")
    made = predictions_of(run, six, "val")
    kept = kept_predictions(run, six.fingerprint, "val", "centre")
    np.testing.assert_array_equal(kept.probabilities, made.probabilities)
    assert kept_predictions(run, six.fingerprint, "val", "ten-crop") is None
    assert kept_predictions(run, six.fingerprint, "train", "centre") is None
    assert kept_predictions(run, "0" * 64, "val", "centre") is None
    (made.path / "labels.npy").write_bytes(b"")
    assert kept_predictions(run, six.fingerprint, "val", "centre") is None
    AlexNet(tiny, classes=6, seed=4).save(run.model_path)
    assert kept_predictions(run, six.fingerprint, "val", "centre") is None


@pytest.mark.parametrize(("recorded", "place"), [(True, "second"), (False, "first")])
def test_the_command_for_every_worker_is_the_one_that_trains(six, tiny, tmp_path, recorded, place):
    run = run_on(six, tiny, tmp_path / "run", strategy="multi-worker", command=["alexnet", "train"])
    if not recorded:
        run.update({"data": {key: value for key, value in six.facts.items() if key != "options"}})
    page, _ = written(run, None, tmp_path, without=PARTS)
    assert f"and the {place} of them on every worker" in page.text
    lines = (
        page.html[page.html.index('aria-label="Commands"') :].partition("<code>")[2].replace(" \\\n", "").splitlines()
    )
    assert lines[["first", "second"].index(place)].startswith("alexnet train")


def words(command):
    return shlex.split(command.replace(" \\\n", " "))


@pytest.fixture
def made_by(six, tiny, tmp_path):
    """A run whose run.json records a command, or none."""
    return lambda command: Run.create(tmp_path / "it's mine", tiny, {"command": command, "data": six.facts})


@pytest.mark.parametrize(
    ("recorded", "again"),
    [
        (["alexnet", "train", "--run", "it's mine", "--set", "a=b c"], ["--run", "it's mine-again", "--set", "a=b c"]),
        (["alexnet", "train", "--run=it's mine", "--gpus", "2"], ["--run=it's mine-again", "--gpus", "2"]),
        (["train", "--gpus", "2"], ["--gpus", "2", "--run", "it's mine-again"]),
    ],
)
def test_the_recorded_command_makes_the_run_under_another_name(made_by, recorded, again):
    run = made_by(recorded)
    assert words(make_command(run, another_name(run))) == ["alexnet", "train", *again]


def test_a_long_command_has_one_line_per_option(made_by):
    run = made_by(["alexnet", "import", "x" * 60 + ".pth", "--from", "torchvision", "--run", "a", "--labels", "b c"])
    lines = make_command(run, "again").split(" \\\n    ")
    assert lines[1:] == ["--from torchvision", "--run again", "--labels 'b c'"]


@pytest.mark.parametrize("command", [None, [], "alexnet train"])
def test_a_command_that_is_not_recorded_is_reported_as_such(made_by, six, command):
    commands = reproduction_commands(made_by(command), six.facts)
    assert commands[0].startswith("alexnet prepare") and commands[1].startswith(
        "# The command that made this run is not"
    )
    assert "alexnet eval 'it'\"'\"'s mine-again' --ten-crop" in commands


def test_an_imported_run_has_no_curves_and_without_data_it_is_not_evaluated(six, tiny, tmp_path):
    facts = {"command": ["alexnet", "import", "net.npy"], "status": IMPORTED, "data": {"path": None}}
    run = Run.create(tmp_path / "net", tiny, facts)
    commands = ["alexnet import net.npy --run net-again", "alexnet visualize kernels net-again"]
    assert reproduction_commands(run, facts["data"]) == commands
    commands = reproduction_commands(run, facts["data"], evaluated=Path("my photos"))
    assert "alexnet eval net-again --ten-crop --data 'my photos'" in commands
    assert "alexnet visualize towers net-again" in commands
    assert "alexnet visualize neighbors net-again --data 'my photos'" in commands
    assert commands[-1] == "alexnet report net-again --data 'my photos'"
    commands = reproduction_commands(run, six.facts)
    assert "alexnet visualize kernels net-again" in commands and "alexnet visualize curves net-again" not in commands


def test_the_preparing_command_has_the_options_that_were_not_the_defaults(six):
    options = {**six.manifest["options"], "name": "photos", "seed": 0}
    facts = {"source": "folder:my photos", "path": "data/my photos", "options": {**options, "name": "my photos"}}
    assert words(prepare_command(facts)) == ["alexnet", "prepare", "folder:my photos"]
    others = {"seed": 4, "holdout": 0.5, "limit_per_class": 20, "exif": True, "encoding": "png", "jpeg_quality": None}
    facts = {"source": "folder:my photos", "path": "elsewhere/set", "options": {**options, **others}}
    assert words(prepare_command(facts)) == [
        *("alexnet", "prepare", "folder:my photos", "--out", "elsewhere/set", "--name", "photos", "--seed", "4"),
        *("--holdout", "0.5", "--limit-per-class", "20", "--exif", "--encoding", "png"),
    ]
    further = ["--splits", "train=Training,val=Testing", "--labels", "my labels.csv"]
    assert words(prepare_command({**facts, "further_options": further}))[-4:] == further
    assert prepare_command({"path": "data/old", "fingerprint": "f"}) is None


def test_an_image_of_the_training_split_is_not_its_own_neighbour(run, six):
    shown = parts.find_neighborhoods(run.load_model(), six, "train", SILENT)
    assert all(distance > 0 for each in shown for _, distance in each["nearest"])
    assert {len(each["nearest"]) for each in shown} == {min(parts.NEIGHBORS, six.examples("train") - 1)}


def test_photographs_are_embedded_small():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    image = photograph(noise, 128, "noise")
    assert (image.width, image.height) == (128, 128)
    assert image.source.startswith("data:image/jpeg;base64,") and len(image.source) < 30_000
