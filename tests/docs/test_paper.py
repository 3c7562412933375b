"""docs/paper.md and modern.md: their results are those of docs/evidence/."""

import csv
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs/hooks"))

import paper  # noqa: E402
import readme  # noqa: E402

from alexnet_keras.experiments.outcome import p_text, paired_test  # noqa: E402
from alexnet_keras.storage.kept import made_from  # noqa: E402


def test_results_are_those_that_were_measured():
    parts, texts = paper.parts(), [page.read_text() for page in paper.PAGES]
    assert parts
    for text in texts:
        assert readme.rendered(text, parts) == text, "run python docs/hooks/paper.py"
    for name in parts:
        assert sum(f"<!-- {name} -->" in text for text in texts) == 1, name


def test_a_result_that_changes_changes_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "EVIDENCE", tmp_path)
    folder = ROOT / "docs/evidence/modern-photos"
    paper.take(folder)
    file = tmp_path / folder.name / paper.RESULT
    document = json.loads(file.read_text())
    document["findings"][0]["ours"]["values"] = [0.98765]
    file.write_text(json.dumps(document))
    texts = [readme.rendered(page.read_text(), paper.parts()) for page in paper.PAGES]
    assert ["98.8 %" in text for text in texts] == [False, True]


def test_what_is_said_of_the_long_training_is_in_its_history():
    (file,) = (ROOT / "docs/evidence/figure-3-full").glob("history-*.csv")
    with file.open(newline="") as lines:
        rows = [{name: float(number) for name, number in row.items()} for row in csv.DictReader(lines)]
    lowest = min(rows, key=lambda row: row["val_top1_error"])
    at, end, last = f"{100 * lowest['val_top1_error']:.1f}", f"{100 * rows[-1]['val_top1_error']:.1f}", rows[-1]
    errors = " to ".join(f"{100 * row['top1_error']:.1f}" for row in (lowest, last))
    page = " ".join((ROOT / "docs/paper.md").read_text().split())
    assert (
        f"The validation error of the centre crop was {at} % at its lowest, after {lowest['epoch'] + 1:.0f} epochs, "
        f"and rose to {end} % while the training error, with dropout and crops, fell from {errors} %."
    ) in page
    minutes = sum(row["seconds"] for row in rows) / 60
    assert f"{len(rows)} epochs on 9,469 photographs, {minutes:.0f} minutes of training" in page


def test_a_network_that_was_trained_twice_was_the_same_to_the_last_digit():
    (file,) = (ROOT / "docs/evidence/table-2-photos").glob("history-*-seed-1.csv")
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    before = json.loads((ROOT / "docs/evidence/ablations-photos/parts/source-seed-1.json").read_text())["found"]
    assert len(rows) == 30 and [float(row["val_top1_error"]) for row in rows] == before["validation_top1"]
    assert float(rows[-1]["loss"]) == before["training_loss"]
    again = json.loads((file.parent / "result.json").read_text())
    (first, _), (top5, _) = (row["ours"]["values"] for row in again["findings"][::4])
    assert (first, top5) == (before["top1"], before["top5"])


def test_what_is_said_of_two_seeds_of_an_ablation_is_what_was_measured():
    words = " ".join((ROOT / "docs/paper.md").read_text().split())
    parts = ROOT / "docs/evidence/ablations-photos/parts"

    def only_one_wrong(name):
        for seed in (1, 2):
            one, other = (json.loads((parts / f"{each}-seed-{seed}.json").read_text()) for each in (name, "source"))
            test = paired_test(one["found"], other["found"], "top1")
            yield test.only_first, test.only_second

    (wrong, right), second = only_one_wrong("one-tower")
    assert f"gets {wrong} images wrong that two towers get right, and {right} right that they get wrong, " in words
    assert "with the second {} and {}. The top-5 error agrees".format(*second) in words
    (wrong, right), second = only_one_wrong("no-lrn")
    assert f"gets {wrong} images wrong that the other gets right, and {right} right that the other gets wrong" in words
    assert "with the second {} and {}. The second alone would decide".format(*second) in words

    (wrong, right), second = only_one_wrong("no-overlap")
    assert f"with the first it gets {wrong} images wrong that the other gets right, and {right} right that" in words
    assert "with the second {} and {}. The differences are about".format(*second) in words

    def percents(name, entry):
        found = (json.loads((parts / f"{name}-seed-{seed}.json").read_text())["found"][entry] for seed in (1, 2))
        return " and ".join(f"{100 * (each[-1] if isinstance(each, list) else each):.1f}" for each in found)

    (wrong, right), second = only_one_wrong("no-crops")
    assert f"without crops and flips alone gets wrong, {right} that the other does, with the second" in words
    assert (
        f"the first seed {wrong} images that the network" in words and "second {} and {}. It".format(*second) in words
    )
    assert f"it got {percents('no-crops', 'training_top1')} % of them wrong in the last epoch, the other" in words
    assert f"{percents('source', 'training_top1')} % of its crops, all with dropout" in words
    assert f"it gets {percents('no-crops', 'validation_top1')} % wrong by the centre crop, where the other has" in words
    assert f"where the other has {percents('source', 'validation_top1')} %; ten crops hide" in words
    (wrong, right), second = only_one_wrong("no-dropout")
    assert f"with the first {wrong} images that the network without dropout alone gets wrong, {right} that the" in words
    assert "other does, with the second {} and {}. It fits".format(*second) in words
    assert f"with {percents('no-dropout', 'training_top1')} % of its crops wrong in the last epoch where" in words
    after = {
        (name, error): " and ".join(
            str(next(epoch for epoch, share in enumerate(found["validation_top1"], 1) if share <= error))
            for found in (json.loads((parts / f"{name}-seed-{seed}.json").read_text())["found"] for seed in (1, 2))
        )
        for name in ("source", "no-dropout")
        for error in (0.30, 0.25)
    }
    assert f"30 % after {after['source', 0.30]} epochs with it and {after['no-dropout', 0.30]} without" in words
    assert f"25 % after {after['source', 0.25]} with it and {after['no-dropout', 0.25]} without" in words


def test_what_is_said_of_all_ablations_is_what_was_measured():
    rows = json.loads((ROOT / "docs/evidence/ablations-photos/result.json").read_text())["findings"]
    differences = [row for row in rows if row["unit"] == "points"]
    errors = [value for row in differences if row["what"].startswith("top-1") for value in row["ours"]["values"]]
    assert (len(errors), sum(value > 0 for value in errors)) == (10, 9)
    assert [row["what"] for row in differences if row["verdict"] == "agrees"] == [
        "top-1 error, no crops and flips",
        "top-5 error, one tower",
    ]
    p_values = [pair["p_value"] for row in differences for pair in row["pairs"]]
    assert (len(p_values), sum(p < 0.05 for p in p_values), min(p_values) < 0.05 / 20) == (20, 3, False)


def test_evidence_holds_no_place_of_the_machine_that_measured_it():
    files = [file for file in (ROOT / "docs/evidence").rglob("*") if file.is_file()]
    assert files
    for file in files:
        text = json.dumps(made_from(file)) if file.suffix == ".npz" else file.read_text()
        assert not re.search(r'"/(?!CPU)\w|/home/|/tmp/|/root/|Users', text), file


def test_the_tries_at_modern_are_those_that_were_measured():
    page = (ROOT / "docs/modern.md").read_text()
    folders = [ROOT / "docs/evidence" / name for name in ("modern-photos/parts", "modern-tries")]
    found = {file.stem: json.loads(file.read_text())["found"] for folder in folders for file in folder.glob("*.json")}
    before = found.pop("without-smaller-batches-seed-1")
    rows = {"batches of 64": "batches-of-64", "the rate 0.02": "rate-0.02"}
    rows["batches of 64, and crops of random size (`augmentation.crop_area`)"] = "batches-of-64-and-crop-area"
    for row, name in rows.items():
        tried = found[name]
        test = paired_test(tried, before, "top1")
        errors = " | ".join(f"{100 * tried[kind]:.1f} %" for kind in ("top1", "top5"))
        line = f"| {row} | {errors} | {test.only_second} and {test.only_first} | {p_text(test.p_value)} |"
        assert line in page, line
    words, modern = " ".join(page.split()), found["modern-seed-1"]
    whole = paired_test(modern, before, "top1")
    assert f"{whole.only_second} images now right and {whole.only_first} now wrong, p {p_text(whole.p_value)}," in words
    rest = paired_test(found["batches-of-64"], modern, "top1")
    assert f"({rest.only_second} images and {rest.only_first}, p {p_text(rest.p_value)})" in words
    said = []
    for seed in (1, 2):
        test = paired_test(found[f"modern-seed-{seed}"], found[f"source-seed-{seed}"], "top1")
        said.append((test.only_second, test.only_first))
    (better, worse), second = said
    assert f"{better} images right that `source` gets wrong, and {worse} wrong that it gets right" in words
    assert "with the second {} and {}, which alone would be undecided".format(*second) in words


def test_what_is_said_of_each_choice_is_what_was_measured():
    words = " ".join((ROOT / "docs/modern.md").read_text().split())
    parts = ROOT / "docs/evidence/modern-photos/parts"
    choices = ("schedule", "less-dropout", "smaller-batches", "initialisation", "averaging", "label-smoothing")
    names = ("modern", *(f"without-{choice}" for choice in choices), "source")
    modern, *without, source = (json.loads((parts / f"{name}-seed-1.json").read_text())["found"] for name in names)
    schedule, less, smaller, *undecided = (paired_test(each, modern, "top1") for each in without)
    assert (
        f"gets {schedule.only_first} images right that it gets wrong without it, and {schedule.only_second} wrong"
        in words
    )
    first, second = (f"{test.only_first} images and {test.only_second}" for test in (less, undecided[0]))
    assert f"the top-1 error: {first}, and {smaller.only_first} and {smaller.only_second}, with p of 0.018 and" in words
    others = (f"{test.only_first} and {test.only_second}" for test in undecided[1:])
    assert f"are undecided ({second}, {', '.join(others)})" in words
    assert schedule.p_value < 0.05 / 6 < min(less.p_value, smaller.p_value) < 0.02 < min(t.p_value for t in undecided)
    assert min(test.p_value for test in undecided) > 0.05
    assert min(each["top1"] for each in without[:3]) >= source["top1"]
    ours, other = (f"{100 * found['training_top1']:.1f} %" for found in (modern, without[1]))
    assert f"In the last epoch {ours} of the training images are wrong" in words
    assert f"in crops and with the dropout there is, without less dropout {other}." in words
    result = json.loads((ROOT / "docs/evidence/modern-photos-choices/result.json").read_text())
    assert [result["facts"]["runs"][name]["1"] for name in names[1:-1]] == without


def test_what_is_said_of_modern_at_full_length_is_what_was_measured():
    words = " ".join((ROOT / "docs/modern.md").read_text().split())
    parts = ROOT / "docs/evidence/modern-full/parts"
    modern, source = (json.loads((parts / f"{name}-seed-1.json").read_text())["found"] for name in ("modern", "source"))
    top1, top5 = (paired_test(modern, source, kind) for kind in ("top1", "top5"))
    assert f"`modern` gets {top1.only_second} right and `source` {top1.only_first}, by the five" in words
    assert f"likeliest classes {top5.only_second} and {top5.only_first}." in words
    ours, theirs = (f"{100 * found['training_top1']:.1f} %" for found in (modern, source))
    assert f"gets {ours} of the training images wrong, in crops and with its dropout, and `source` {theirs}:" in words
