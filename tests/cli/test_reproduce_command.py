"""`alexnet reproduce` on toy sets: what it writes, that it resumes, and what it refuses."""

import errno
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from alexnet_keras.experiments import cifar_lrn, figure_1, initialisation
from alexnet_keras.experiments.catalog import EXPERIMENTS

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"
SHORT = ("--seeds", "1", "--epochs", "1")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Where all tests of this file put their results, so that they share networks."""
    return tmp_path_factory.mktemp("reproductions")


@pytest.fixture(scope="module")
def others(write_images, tmp_path_factory):
    """A prepared set of two other classes, half of each held out."""
    from alexnet_keras.data.preparation import prepare
    from alexnet_keras.data.sources.folder import folder_source

    folder = write_images(tmp_path_factory.mktemp("pictures") / "others", {"dark": 12, "light": 12}, seed=5)
    return prepare(folder_source(folder, holdout=0.5), tmp_path_factory.mktemp("data") / "others", seed=0)


@pytest.fixture(scope="module")
def little_cifar(write_images, tmp_path_factory):
    """A folder of images as large as CIFAR-10's: 280, which are two batches, to train on, 20 to test on."""
    folder = tmp_path_factory.mktemp("pictures") / "little-cifar"
    for split, count, seed in (("train", 140, 6), ("test", 10, 7)):
        write_images(folder / split, {"dark": count, "light": count}, (32, 32), seed)
    return folder


@pytest.fixture
def reproduce(alexnet, results, prepared):
    def call(*arguments, data=prepared.path):
        given = ("--data", str(data)) if data else ()
        return alexnet("reproduce", *arguments, *given, "--out", str(results))

    return call


def result_of(results, name):
    return json.loads((results / name / "result.json").read_text())


def test_the_list_shows_claims_configurations_and_costs(alexnet):
    listed = alexnet("reproduce", "list")
    for experiment in EXPERIMENTS.values():
        assert re.search(f"{experiment.name} +{re.escape(experiment.title)}", listed.stdout)
    one = alexnet("reproduce", "list", "table-1").stdout
    assert "250 GPU-hours" in one and "47.1 / 28.2" in one and "figure-1" not in one
    for words in (["reproduce", "table-3"], ["reproduce", "list", "table-3"], ["reproduce", "figure-1", "table-1"]):
        assert alexnet(*words).exit_code == 2
    assert [each["name"] for each in json.loads(alexnet("reproduce", "--json").stdout)] == list(EXPERIMENTS)


def test_every_experiment_is_where_the_catalogue_says():
    for experiment in EXPERIMENTS.values():
        assert callable(experiment.module.run) and callable(experiment.module.draw), experiment.name


@pytest.mark.slow
def test_ablations_are_written_and_not_done_twice(reproduce, results):
    done = reproduce("ablations", "--only", "no-lrn,no-conv3", *SHORT)
    assert done.exit_code == 0, done.stderr
    found = result_of(results, "ablations-mini")
    assert [row["what"] for row in found["findings"]] == [
        "top-1 error of the network as it is",
        "top-1 error, no normalisation",
        "top-1 error, without conv3",
    ]  # with three classes there is no top-5 error
    base, lacking = (found["facts"]["runs"][name]["1"] for name in ("source", "no-lrn"))
    difference = found["findings"][1]["ours"]["mean"]
    assert difference == pytest.approx(lacking["top1"] - base["top1"])
    assert Image.open(results / "ablations-mini" / "picture.png").width > 500
    assert "| top-1 error, no normalisation | +1.4 |" in (results / "ablations-mini" / "page.md").read_text()
    shutil.rmtree(results / "nets")
    again = reproduce("ablations", "--only", "no-lrn,no-conv3", *SHORT)
    assert again.exit_code == 0 and "Training" not in again.stderr
    assert result_of(results, "ablations-mini")["findings"] == found["findings"]


@pytest.mark.slow
def test_figure_1_is_a_race_of_rates_for_each_nonlinearity(reproduce, results, little_cifar):
    done = reproduce("figure-1", *SHORT, data=little_cifar)
    assert done.exit_code == 0, done.stderr
    found = result_of(results, "figure-1-mini")
    race = found["facts"]["races"]["1"]
    for kind in ("relu", "tanh"):
        entrants = race[kind]["entrants"]
        assert list(entrants) == [f"{rate:g}" for rate in figure_1.RATES]
        assert race[kind]["winner"]["rows"] == entrants[f"{race[kind]['winner']['rate']:g}"]
        assert len({row["loss"] for rows in entrants.values() for row in rows if row["epoch"] == 1}) == len(entrants)
    assert found["findings"][-1]["claim"] == "six times"
    assert Image.open(results / "figure-1-mini" / "picture.png").width > 500


@pytest.mark.slow
def test_normalisation_on_cifar_is_compared_seed_by_seed(reproduce, results, little_cifar, monkeypatch):
    arguments = ("cifar-lrn", "--seeds", "2", "--epochs", "3")
    done = reproduce(*arguments, data=little_cifar)
    assert done.exit_code == 0, done.stderr
    found = result_of(results, "cifar-lrn-mini")
    runs = found["facts"]["runs"]
    differences = [runs[seed]["without"]["error"] - runs[seed]["with"]["error"] for seed in ("1", "2")]
    assert found["findings"][-1]["ours"]["values"] == pytest.approx(differences)
    assert [row["epoch"] for row in runs["1"]["with"]["rows"]] == [0.5, 1, 1.5, 2, 2.5, 3]
    assert runs["1"]["without"]["rows"] != runs["1"]["with"]["rows"] != runs["2"]["with"]["rows"]
    assert "for 3 epochs, of which the last 2 at lower rates" in found["summary"]
    assert Image.open(results / "cifar-lrn-mini" / "picture.png").width > 500
    monkeypatch.setattr(cifar_lrn, "CifarTrainer", None)  # nothing is trained twice
    assert reproduce(*arguments, data=little_cifar).exit_code == 0
    assert result_of(results, "cifar-lrn-mini")["facts"]["runs"] == runs


@pytest.mark.slow
def test_initialisation_trains_one_network_from_every_variant(reproduce, results, tiny, monkeypatch):
    monkeypatch.setattr(initialisation, "load_recipe", lambda name: tiny)
    monkeypatch.setattr(initialisation, "STEPS", {"mini": 12})
    done = reproduce("initialisation", "--seeds", "1")
    assert done.exit_code == 0, done.stderr
    starts = result_of(results, "initialisation-mini")["facts"]["starts"]
    assert list(starts) == ["source", "paper", "caffe", "unit-variance"]
    assert all(len(start["1"]["losses"]) == 12 for start in starts.values())
    assert len({tuple(start["1"]["losses"]) for start in starts.values()}) == len(starts)
    layers = [[layer["name"] for layer in start["1"]["signal"]] for start in starts.values()]
    assert layers[0][:2] == ["conv1", "conv2"] and all(names == layers[0] for names in layers)
    assert Image.open(results / "initialisation-mini" / "picture.png").width > 500


@pytest.mark.slow
def test_table_1_compares_systems_on_the_same_images(reproduce, results):
    done = reproduce("table-1", "--only", "fisher-vectors,cnn,cnn-centre", *SHORT)
    assert done.exit_code == 0, done.stderr
    found = result_of(results, "table-1-mini")
    assert [(finding["what"], finding["claim"]) for finding in found["findings"]] == [
        ("top-1 error, SIFT + FVs", "45.7 %"),
        ("top-1 error, CNN, ten crops", "37.5 %"),
        ("top-1 error, CNN, centre crop", "39.0 %"),
        ("top-1 error, SIFT + FVs minus CNN", "+8.2 points"),
    ]
    errors = [finding["ours"]["mean"] for finding in found["findings"]]
    assert errors[3] == pytest.approx(errors[0] - errors[1])
    gain = found["findings"][3]
    assert gain["pairs"] or gain["note"] == "1 of the 2 networks compared ended no better than guessing"
    assert Image.open(results / "table-1-mini" / "picture.png").width > 500
    shutil.rmtree(results / "nets")
    again = reproduce("table-1", "--only", "fisher-vectors,cnn,cnn-centre", *SHORT)
    assert again.exit_code == 0 and "Training" not in again.stderr
    assert result_of(results, "table-1-mini")["findings"] == found["findings"]


@pytest.mark.slow
def test_modern_has_half_the_epochs_and_is_compared_with_and_without_its_choices(reproduce, results):
    done = reproduce("modern", "--only", "without-label-smoothing", "--seeds", "2", "--epochs", "2")
    assert done.exit_code == 0, done.stderr
    found = result_of(results, "modern-mini")
    assert [(finding["what"], finding["claim"]) for finding in found["findings"]] == [
        ("top-1 error, source, 2 epochs", ""),
        ("top-1 error, modern, 1 epochs", ""),
        ("top-1 error, modern minus source", "lower"),
        ("top-1 error, modern without label-smoothing minus modern", ""),
    ]
    runs = found["facts"]["runs"]
    lengths = {name: {len(each["validation_top1"]) for each in runs[name].values()} for name in runs}
    assert lengths == {"source": {2}, "modern": {1}, "without-label-smoothing": {1}}
    differences = [runs["modern"][seed]["top1"] - runs["source"][seed]["top1"] for seed in ("1", "2")]
    assert found["findings"][2]["ours"]["values"] == pytest.approx(differences)
    page = (results / "modern-mini" / "page.md").read_text()
    assert "**Not in the paper**: With the same layers" in page and "| measured | expected | the lab's log |" in page
    assert Image.open(results / "modern-mini" / "picture.png").width > 500


@pytest.mark.slow
def test_figures_3_and_4_share_their_networks(reproduce, results):
    assert reproduce("figure-3", *SHORT).exit_code == 0
    found = result_of(results, "figure-3-mini")
    specialised = found["findings"][0]
    assert (specialised["unit"], specialised["note"]) == ("count", "of 1")
    done = reproduce("figure-4", *SHORT)
    assert done.exit_code == 0 and "is already trained." in done.stderr and "Training" not in done.stderr
    shares = result_of(results, "figure-4-mini")["facts"]["measured"]["1"]
    assert all(0 <= share <= 1 for share in shares.values())
    assert not [row for row in result_of(results, "figure-4-mini")["findings"] if "top-5" in row["what"]], "3 classes"
    for name in ("picture.png", "predictions.png", "neighbors.png"):
        assert Image.open(results / "figure-4-mini" / name).width > 500
    shutil.rmtree(results / "nets")
    before = (results / "figure-3-mini" / "picture.png").read_bytes()
    again = reproduce("figure-3", *SHORT)
    assert again.exit_code == 0 and "Training" not in again.stderr
    assert result_of(results, "figure-3-mini")["facts"] == found["facts"]
    assert (results / "figure-3-mini" / "picture.png").read_bytes() == before


@pytest.mark.slow
def test_table_2_pre_trains_fine_tunes_and_averages(reproduce, results, others, prepared):
    done = reproduce("table-2", "--seeds", "2", "--epochs", "1", "--pretrain", str(others.path))
    assert done.exit_code == 0, done.stderr
    found = result_of(results, "table-2-mini")
    whats = [row["what"] for row in found["findings"]]
    assert "top-1 error, 2 CNNs" in whats and "top-1 error, 4 CNNs*" in whats
    assert len(found["facts"]["nets"]) == 4
    copied = [run for run in (results / "nets").iterdir() if run.name.startswith("fine-tuned")]
    origin = json.loads((copied[0] / "run.json").read_text())["init_from"]
    assert "six-conv-others" in origin
    done = reproduce("table-2", "--seeds", "2", "--epochs", "1")  # the same networks, without those with a star
    found = result_of(results, "table-2-mini")
    whats = [row["what"] for row in found["findings"] if row["what"].startswith("top-1")]
    single, together = "top-1 error, 1 CNN", "top-1 error, 2 CNNs"
    assert whats == [single, together, f"{together}, weights searched on the same images", f"{together} minus 1 CNN"]
    rows = {row["what"]: row for row in found["findings"]}
    errors, gain = rows[single]["ours"]["values"], rows[f"{together} minus 1 CNN"]
    (ensemble,) = rows[together]["ours"]["values"]
    assert gain["ours"]["values"] == pytest.approx([ensemble - sum(errors) / 2]), "one ensemble"
    for alone, pair in zip(errors, gain["pairs"], strict=True):
        change = (ensemble - alone) * prepared.examples("val")
        assert pair["only_first"] - pair["only_second"] == pytest.approx(change)


@pytest.mark.slow
def test_fall_2009_wants_half_of_the_images_held_out(reproduce, results, others, prepared):
    refused = reproduce("fall-2009", *SHORT)
    assert refused.exit_code == 3 and "--holdout 0.5" in refused.stderr
    done = reproduce("fall-2009", *SHORT, "--pretrain", str(prepared.path), data=others.path)
    assert done.exit_code == 0, done.stderr
    assert result_of(results, "fall-2009-mini")["findings"][0]["verdict"] == "not compared"


@pytest.mark.slow
def test_figure_2_counts_the_model(alexnet, results):
    done = alexnet("reproduce", "figure-2", "--out", str(results))
    assert done.exit_code == 0 and "60,965,224" in done.stdout
    verdicts = {f["what"]: f["verdict"] for f in result_of(results, "figure-2-mini")["findings"]}
    assert verdicts.pop("neurons of conv1") == "disagrees" and set(verdicts.values()) == {"agrees"}


@pytest.mark.slow
def test_the_report_holds_every_result_and_names_the_rest(alexnet, tmp_path):
    assert alexnet("reproduce", "figure-2", "--out", str(tmp_path)).exit_code == 0
    shutil.copytree(tmp_path / "figure-2-mini", tmp_path / "figure-2-full")
    done = alexnet("reproduce", "report", "--out", str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert done.exit_code == 0 and "figure-2-mini" in done.stdout
    assert 'id="figure-2-mini"' in page and "data:image/png;base64," in page and "<script" not in page
    assert "cifar-lrn: normalisation on CIFAR-10" in page  # not run
    listed = json.loads(alexnet("reproduce", "report", "--out", str(tmp_path), "--json").stdout)
    assert listed["report"] == str(tmp_path / "report.html") and len(listed["results"]) == 2
    assert f"1 of {len(EXPERIMENTS)} experiments have been run" in page, "at whatever scales"
    assert "<figcaption>The two towers." in page
    (tmp_path / "figure-2-mini" / "picture.png").write_bytes(b"cut short")
    (tmp_path / "figure-2-full" / "picture.png").unlink()
    again = alexnet("reproduce", "report", "--out", str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert again.exit_code == 0 and page.count("Its figure is missing or damaged") == 2 and "data:image" not in page


def test_a_result_whose_writing_ends_early_leaves_the_former_whole(alexnet, tmp_path, monkeypatch):
    folder = tmp_path / "figure-2-mini"
    assert alexnet("reproduce", "figure-2", "--out", tmp_path).exit_code == 0
    (folder / "picture.png").write_bytes(b"the former")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("alexnet_keras.experiments.results.page", full)
    failed = alexnet("reproduce", "figure-2", "--out", tmp_path)
    assert failed.exit_code == 1 and f"No space left on device ({folder}/result.json)" in failed.stderr
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_heading_breaks_in_no_word(alexnet):
    for name in EXPERIMENTS:
        text = alexnet("reproduce", name, "--help", terminal_width=80).stdout
        assert " ".join(EXPERIMENTS[name].title.split()) in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("figure-9",), 2, "There is no experiment 'figure-9': choose figure-1"),
        (("list", "list"), 2, "There is no experiment 'list': choose figure-1"),
        (("list", "report"), 2, "There is no experiment 'report': choose figure-1"),
        (
            ("ablations", "--only", "no-hope", "--data", "DATA"),
            2,
            "There is no part 'no-hope' in this experiment: choose no-lrn",
        ),
        (("ablations", "--only", "", "--data", "DATA"), 2, "There is no part '' in this experiment"),
        (("figure-3", "--only", "no-lrn"), 2, "--only changes nothing in figure-3: leave it out"),
        (("figure-3", "--pretrain", "data/x"), 2, "--pretrain changes nothing in figure-3"),
        (("figure-3", "--scale", "photo"), 2, "'photo' is not one of 'mini', 'photos', 'full'"),
        (("figure-3", "--cache", "ram"), 2, "'ram' is not one of"),
        (("figure-1", "--cache", "memory"), 2, "--cache changes nothing in figure-1: leave it out"),
        (("figure-1", "--scale", "full"), 2, "--scale changes nothing in figure-1: leave it out"),
        (("figure-2", "--scale", "photos"), 2, "--scale changes nothing in figure-2: leave it out"),
        (("figure-2", "--seeds", "3"), 2, "--seeds changes nothing in figure-2"),
        (("initialisation", "--epochs", "3"), 2, "--epochs changes nothing in initialisation"),
        *(
            ((name, "--precision", "mixed_float16"), 2, f"{name} does not scale the loss, as mixed_float16 needs")
            for name in ("figure-1", "cifar-lrn", "initialisation")
        ),
        (("report", "--scale", "full"), 2, "--scale is for experiments, not for report"),
        (("list", "--out", "x"), 2, "--out is for experiments, not for list"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(alexnet, prepared, arguments, code, sentence):
    refused = alexnet("reproduce", *(str(prepared.path) if word == "DATA" else word for word in arguments))
    assert refused.exit_code == code and sentence in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_report_of_nothing_says_so(alexnet, tmp_path):
    refused = alexnet("reproduce", "report", "--out", str(tmp_path))
    assert refused.exit_code == 2 and "There is no result under" in refused.stderr


@pytest.mark.slow
def test_a_damaged_result_is_reported(alexnet, tmp_path):
    alexnet("reproduce", "figure-2", "--out", str(tmp_path))
    (tmp_path / "figure-2-mini" / "result.json").write_text("{")
    refused = alexnet("reproduce", "report", "--out", str(tmp_path))
    assert refused.exit_code == 3 and "is damaged" in refused.stderr


@pytest.mark.parametrize("scale", ["huge", []])
def test_a_result_of_an_unknown_scale_is_reported(alexnet, tmp_path, scale):
    evidence = json.loads((EVIDENCE / "figure-3-full" / "result.json").read_text())
    folder = tmp_path / "figure-3-full"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(evidence | {"scale": scale}))
    refused = alexnet("reproduce", "report", "--out", str(tmp_path))
    assert refused.exit_code == 3 and "is damaged" in refused.stderr
