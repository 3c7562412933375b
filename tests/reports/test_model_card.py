"""The model card of a run: its front matter is YAML, its text is what the run says, and nothing in it is markup."""

import json
import os
import re
import shutil

import pytest
import yaml
from untrained import untrained_run

from alexnet_keras.errors import UsageError
from alexnet_keras.reports.model_card import model_card, write_model_card
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import sha256_of

HOSTILE = ["<script>alert(1)</script>", "a | b", "*bold* [link](http://x.y)", "`code`\n# heading", "{{ 7 * 7 }}", "ß"]


@pytest.fixture
def run(prepared, tiny, tmp_path):
    data = {**prepared.facts, "name": 'my "set": #1', "titles": HOSTILE}
    facts = {"classes": HOSTILE, "data": data, "recipe": tiny.name, "overrides": [], "seed": 0, "parameters": 12_345}
    facts |= {"precision": "float32", "command": ["alexnet", "train", "--seed", "0"]}
    run = untrained_run(tmp_path / "a run: {x}", tiny, prepared, **facts)
    run.write_history([{"epoch": 0, "val_top1_error": 0.5}, {"epoch": 1, "val_top1_error": 0.25}])
    return run


def evaluate(run, views="centre", sha=None, of=None):
    rate = {"error": 0.25, "low": 0.2, "high": 0.3}
    result = {"data": "data/colors", "split": "val", "images": 1200, "classes": 6, "views": views}
    result |= {"top1": rate, "top5": {**rate, "error": 0.125}, "calibration": {"expected_error": 0.07}}
    folder = run.predictions_path(views)
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "facts.json").write_text(json.dumps({"model_sha256": sha or sha256_of(run.model_path)}))
    run.write_evaluation(views, result | ({"model_sha256": of} if of else {}))


def read(run):
    write_model_card(run)
    card = run.model_card_path.read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    return yaml.safe_load(front), text


def test_front_matter_is_what_a_hub_reads(run):
    evaluate(run)
    evaluate(run, "ten-crop")
    front, _ = read(run)
    assert front["library_name"] == "keras" and front["license"] == "unknown"
    assert front["pipeline_tag"] == "image-classification" and "alexnet" in front["tags"]
    (entry,) = front["model-index"]
    assert entry["name"] == "a run: {x}"
    assert [metric["value"] for result in entry["results"] for metric in result["metrics"]] == [0.75, 0.875] * 2
    assert entry["results"][1]["metrics"][0]["name"] == "Top-1 accuracy, ten crops"
    assert entry["results"][0]["dataset"] == {"name": "colors", "type": "colors", "split": "val"}


@pytest.mark.parametrize("name", ["a 🐱 cat", "ünï\u2028code", "a\x7f\x85\U000e0041b", 'quotes " and \\'])
def test_the_front_matter_has_any_name(run, name):
    renamed = Run(shutil.copytree(run.path, run.path.with_name(name)))
    assert read(renamed)[0]["model-index"][0]["name"] == name


def test_errors_of_an_earlier_model_are_not_those_of_the_present_one(run):
    evaluate(run, of="0" * 64)  # its predictions are of the present model: `alexnet report` made them
    evaluate(run, "ten-crop", of=sha256_of(run.model_path), sha="0" * 64)
    front, text = read(run)
    assert [result["metrics"][0]["name"] for result in front["model-index"][0]["results"]] == [
        "Top-1 accuracy, ten crops"
    ]
    assert "The model\nevaluated is the one with the lowest error" in text


def test_a_result_without_a_checksum_is_not_believed_where_the_predictions_are_newer(run):
    evaluate(run)
    assert "25.0% (20.0% to 30.0%)" in read(run)[1].replace("\\", "")
    os.utime(run.path / "evaluations/centre.json", (0, 0))
    assert "25.0% (20.0% to 30.0%)" not in read(run)[1].replace("\\", "")


def test_the_card_of_the_last_model_has_its_errors(run):
    evaluate(run)
    run.write_history([{"epoch": 0, "val_top1_error": 0.25}, {"epoch": 1, "val_top1_error": 0.5}])
    shutil.copy(run.model_path, run.last_model_path)
    with run.last_model_path.open("ab") as file:
        file.write(b"other")
    assert "At the end of its last epoch the top-1 error on the validation split was 50.0%" in model_card(
        run, which="last"
    )
    evaluate(run, "ten-crop", of=sha256_of(run.last_model_path))
    best, last = (model_card(run, which=which) for which in ("best", "last"))
    assert "| centre crop |" in best and "| ten crops |" not in best and "the best is number 1 |" in best
    assert (
        "| ten crops |" in last and "| centre crop |" not in last and "the weights here are those of the last |" in last
    )
    assert "the lowest error" in best and "the lowest error" not in last
    with pytest.raises(UsageError, match="Received: which='lst'"):
        model_card(run, which="lst")


def test_it_says_what_the_run_is(run, prepared):
    evaluate(run)
    _, text = read(run)
    for said in (
        "12,345", "2 of 2; the best is number 2", "36 train, 12 val", prepared.fingerprint, "not known to this program",
        "25.0% (20.0% to 30.0%)", "1,200", "centre crop", "12.5% (20.0% to 30.0%) | 7.0% |",
        "alexnet train", "alexnet eval",
        "training.epochs | 2 | 91 | 90", "network.conv1.filters | 6 | 48 | 48", "Intended use and limits",
    ):  # fmt: skip
        assert said in text.replace("\\", ""), said


def test_without_evaluations_it_has_the_validation_error_of_training(run):
    front, text = read(run)
    assert front["model-index"][0]["results"] == []
    assert "validation split was 25.0%" in text


def test_errors_of_an_older_model_are_left_out(run):
    evaluate(run, sha="0" * 64)
    assert read(run)[0]["model-index"][0]["results"] == []


def test_names_are_shown_as_text(run):
    _, text = read(run)
    assert "<script" not in text and "[link](" not in text and "\n# heading" not in text and "{{" not in text
    assert r"a \| b" in text and r"\*bold\*" in text and "ß" in text
    for line in text.splitlines():
        if line.startswith("|"):  # no table has a column more
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5, 7), line


def test_an_unfinished_run_is_said_to_be_one(run):
    run.update({"status": "interrupted"})
    assert "it is interrupted" in read(run)[1]


def test_a_run_of_other_hands_has_a_card_too(tiny, tmp_path):
    run = Run.create(tmp_path / "old", tiny, {"classes": ["a"], "data": {"path": "data/a", "fingerprint": "f"}})
    run.update({"recipe": tiny.name})
    assert "not recorded" in read(run)[1]


def test_weights_that_were_imported_were_not_chosen_by_their_error(run):
    evaluate(run)
    assert "slightly optimistic" in read(run)[1]
    run.update({"imported": {"file": "net.npy", "from": "Toronto", "sha256": "0", "published": None}})
    assert "slightly optimistic" not in read(run)[1]


def test_names_of_folders_that_are_not_utf8_are_escaped(tiny, tmp_path):
    data = {"path": "data/a", "fingerprint": "f", "source": "folder:caf\udce9", "titles": ["x\udce9", "猫"]}
    run = Run.create(tmp_path / "run", tiny, {"classes": ["x\udce9", "猫"], "data": data})
    write_model_card(run)
    assert "x\\udce9, 猫" in run.model_card_path.read_text(encoding="utf-8")
