"""The text that ILSVRC's servers read."""

from types import SimpleNamespace

import numpy as np
import pytest

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation.analysis import check_can_submit, write_submission
from alexnet_keras.evaluation.predictions import top_classes


def test_five_ids_a_line_in_the_order_of_file_names(tmp_path):
    ids = [701, 3, 12, 999, 40, 8]
    probabilities = np.array([[0.3, 0.25, 0.2, 0.15, 0.1, 0.0], [0.0, 0.05, 0.1, 0.2, 0.25, 0.4], [0.5] + [0.1] * 5])
    names = ["n01/ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"]
    write_submission(tmp_path / "out.txt", top_classes(probabilities), names, ids)
    assert (tmp_path / "out.txt").read_text() == "8 40 999 12 3\n701 3 12 999 40\n701 3 12 999 40\n"


@pytest.mark.parametrize("label", ["", "_n01440764"])  # as in the official archive, and in Hugging Face's
@pytest.mark.parametrize("numbers", [(1, 3), (2, 3), (1, 1)])
def test_an_image_that_is_missing_would_shift_all_lines_after_it(tmp_path, numbers, label):
    names = [f"ILSVRC2012_val_{number:08}{label}.JPEG" for number in numbers]
    with pytest.raises(DataError, match=f"Image {1 if 1 not in numbers else 2} is not among the 2 that were evaluated"):
        write_submission(tmp_path / "out.txt", np.zeros((2, 5), int), names, [7, 8, 9, 10, 11])
    assert not (tmp_path / "out.txt").exists()


def dataset(ids=range(1, 7), rejected=(), further=(), **options):
    manifest = {"options": options, "further_options": further}
    return SimpleNamespace(path="data/ilsvrc", ids=tuple(ids), rejected=rejected, manifest=manifest)


def test_classes_without_ids_and_too_few_classes_are_told():
    with pytest.raises(UsageError, match="devkit"):
        check_can_submit(dataset(()), "val")
    with pytest.raises(UsageError, match="only 3 classes"):
        check_can_submit(dataset((1, 2, 3)), "val")


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"rejected": [{"split": "val"}, {"split": "train"}, {"split": "val"}]}, "2 could not be used"),
        ({"further": ["--partial"]}, "it was prepared with --partial"),
        ({"further": ["--classes", "some.txt"]}, "it was prepared with --classes"),
        ({"limit_per_class": 9}, "it was prepared with --limit-per-class"),
    ],
)
def test_a_split_that_lacks_images_cannot_be_submitted(choices, reason):
    with pytest.raises(DataError, match=f"data/ilsvrc lacks some of val: {reason}"):
        check_can_submit(dataset(**choices), "val")


def test_a_split_of_which_every_image_was_used_can_be_submitted():
    check_can_submit(dataset(rejected=[{"split": "train"}], further=["--max-bad", "1%"]), "val")
