"""Names of classes: in words if these are known, and no two alike."""

import json
import shutil

import pytest

from alexnet_keras.data.class_names import class_titles, class_words, imagenet_words, renewed_titles, some
from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.runs import Run


def test_the_words_of_the_thousand_synsets_of_2012_are_at_hand():
    words = imagenet_words()
    assert len(words) == 1000 and list(words) == sorted(words)
    assert words["n03425413"] == "gas pump, gasoline pump, petrol pump, island dispenser"
    titles = class_titles(list(words), list(words.values()))
    assert len({title.casefold() for title in titles}) == 1000
    changed = {title for title, text in zip(titles, words.values(), strict=True) if title != text.split(",")[0]}
    assert changed == {"crane (n02012849)", "crane (n03126707)", "tank suit", "Cardigan Welsh corgi"}


@pytest.mark.parametrize(
    ("names", "words", "titles"),
    [
        (["Pepper,_bell___healthy", "Pepper,_bell___Bacterial_spot"], None, None),  # a comma of their own
        (["a", "b"], ["Pepper", "Pepper"], ["Pepper (a)", "Pepper (b)"]),
        (["n02012849", "n01440764"], ["crane", "tench, Tinca tinca"], ["crane", "tench"]),
        (["n00000001", "n00000002"], ["bat, club", "bat, club"], ["bat (n00000001)", "bat (n00000002)"]),
        (["n00000001", "n00000002"], [" , ,", "bat"], ["n00000001", "bat"]),
        (["caf\u00e9", "cafe\u0301"], None, ["caf\u00e9 (0)", "cafe\u0301 (1)"]),  # two encodings of one look
        (["red  fox", "red fox"], None, ["red  fox (0)", "red fox (1)"]),
        (["a\u200bb", "ab"], None, ["a\u200bb (0)", "ab (1)"]),  # a space without width
        (["Cat", "cat"], None, None),
    ],
)
def test_no_two_titles_look_the_same(names, words, titles):
    assert list(class_titles(names, words or names)) == (titles or names)


def test_ids_without_words_get_those_that_are_known():
    assert class_words(["n03425413", "n00000001"]) == (imagenet_words()["n03425413"], "n00000001")
    assert class_words(["n03425413", "n01440764"], ["my pump", "n01440764"]) == ("my pump", "tench, Tinca tinca")
    assert class_words(["n03425413", "others"]) == ("n03425413", "others")  # only where all are ids


@pytest.mark.parametrize(
    ("names", "kept", "titles"),
    [
        (["Pepper,_a", "Pepper,_b"], ["Pepper", "Pepper"], ["Pepper,_a", "Pepper,_b"]),  # as 0.1 kept them
        (["n03710637", "n03710721"], ["maillot", "maillot"], ["maillot", "tank suit"]),
        (["n03425413", "n01440764"], ["n03425413", "n01440764"], ["gas pump", "tench"]),
        (["n03425413", "n01440764"], ["Zapfsäule", "Schleie"], ["Zapfsäule", "Schleie"]),
        (["a", "b"], [], ["a", "b"]),
    ],
)
def test_titles_in_files_are_made_different_too(names, kept, titles):
    assert list(renewed_titles(names, kept)) == titles


def test_a_listed_name_with_a_comma_is_quoted():
    assert some(["Pepper, bell", "rust"]) == '"Pepper, bell", rust'
    assert some(["a", "b, c", "d", "e"], 2) == 'a, "b, c" and 2 more'


def test_a_dataset_prepared_without_words_shows_them(prepared, tmp_path):
    path = shutil.copytree(prepared.path, tmp_path / "pumps")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= {"classes": ["n03425413", "n00000001", "n01440764"], "words": []}
    (path / "manifest.json").write_text(json.dumps(manifest))
    data = open_prepared(path)
    assert data.titles == ("gas pump", "n00000001", "tench")
    assert data.facts["titles"] == list(data.titles)


def test_a_run_trained_before_titles_differed_shows_them_apart(tiny, tmp_path):
    facts = {"classes": ["Pepper,_a", "Pepper,_b"], "data": {"titles": ["Pepper", "Pepper"]}}
    assert Run.create(tmp_path / "old", tiny, facts).titles == ("Pepper,_a", "Pepper,_b")
    assert Run.create(tmp_path / "older", tiny, {"classes": ["n03425413"]}).titles == ("gas pump",)
