"""Lists of classes in the forms that people have, and the names that classes get from them or from a dataset."""

import json
from types import SimpleNamespace

import pytest

from alexnet_keras.data.class_names import imagenet_words
from alexnet_keras.errors import DataError
from alexnet_keras.interop.class_names import class_names, read_class_names

IDS = list(imagenet_words())
WORDS = list(imagenet_words().values())
FIRST = [words.split(", ")[0] for words in WORDS]
ANIMALS = ("tench, Tinca tinca", "goldfish", "carpenter's kit")
FISH = ("tench", "goldfish", "hen")


@pytest.fixture
def read(tmp_path):
    """Reads the classes of a list with a text, for a network with a number of classes."""

    def read(text, count):
        (tmp_path / "labels").write_text(text, encoding="utf-8")
        return read_class_names(tmp_path / "labels", count)

    return read


def numbered(form, names, start=0):
    return "\n".join(form.format(number, name) for number, name in enumerate(names, start))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(FIRST),
        "\n".join(WORDS),
        "\n".join(f"{wnid} {words}" for wnid, words in zip(IDS, WORDS, strict=True)),
        "\n".join(f"{wnid}\t{words}" for wnid, words in zip(IDS, WORDS, strict=True)),
        "\n".join(IDS),
        "synset,words\n" + "\n".join(f'{wnid},"{words}"' for wnid, words in zip(IDS, WORDS, strict=True)),
        "{" + numbered("{}: {!r},", WORDS).rstrip(",") + "}",
        "classes = {" + numbered("{}: {!r},", WORDS) + "\n}",
        json.dumps({str(label): [IDS[label], FIRST[label].replace(" ", "_")] for label in range(1000)}),
        json.dumps({label: FIRST[label] for label in range(1000)}, indent=1),
        json.dumps({wnid: label for label, wnid in reversed(list(enumerate(IDS)))}),
        json.dumps(FIRST),
        "ImageNet's numbers and names\nas Keras has them\n\n"
        + numbered("{}, {}", [f.replace(" ", "_") for f in FIRST]),
        numbered("{},{}", FIRST, start=1),
        "index,name\n" + numbered('{},"{}"', WORDS),
        "\n".join(f'"{words}",{label}' for label, words in enumerate(WORDS)),
        "\n".join(f"{IDS[label]} {label + 1} {FIRST[label].replace(' ', '_')}" for label in range(999, -1, -1)),
        "\n".join([*FIRST[:7], "rooster", *FIRST[8:]]),  # a word that ImageNet's list has not
    ],
    ids=lambda text: text[:24],
)
def test_imagenets_classes_are_known_from_any_list_of_them(text, read):
    found = read(text, 1000)
    assert list(found.names) == IDS
    assert found.titles[0] == "tench" and found.titles[1] == "goldfish" and found.titles[2] == "great white shark"
    assert [found.titles[label] for label in (134, 517)] == ["crane (n02012849)", "crane (n03126707)"]
    assert [found.titles[label] for label in (638, 639)] == ["maillot", "tank suit"]
    assert len(set(found.titles)) == 1000


def test_the_same_words_in_another_order_stay_words(read):
    found = read("\n".join([FIRST[1], FIRST[0], *FIRST[2:]]), 1000)
    assert found.names[:2] == found.titles[:2] == ("goldfish", "tench")
    assert found.names[134] == "crane (134)" and found.names[517] == found.titles[517] == "crane (517)"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tench, Tinca tinca\ngoldfish\ncarpenter's kit\n", ANIMALS),
        ("0: 'tench, Tinca tinca',\n1: 'goldfish',\n2: \"carpenter's kit\"", ANIMALS),
        ("{0: 'tench, Tinca tinca',\n 1: 'goldfish',\n 2: \"carpenter's kit\",}", ANIMALS),
        ('[\n "tench, Tinca tinca",\n "goldfish",\n "carpenter\'s kit"\n]', ANIMALS),
        ('"tench, Tinca tinca",\n"goldfish",\n"carpenter\'s kit"', ANIMALS),
        ('2,"carpenter\'s kit"\n1,goldfish\n0,"tench, Tinca tinca"', ANIMALS),
        ("1. tench\n2. goldfish\n3. hen", FISH),
        ("0 tench\n1 goldfish\n2 hen", FISH),
        ("name;number\nhen;3\ntench;1\ngoldfish;2", FISH),
        ('{"hen": 2, "tench": 0, "goldfish": 1}', FISH),
        ('{"model_type": "alexnet", "id2label": {"1": "goldfish", "0": "tench", "2": "hen"}}', FISH),
        (json.dumps(["tench\n", " goldfish", "he\tn"]), ("tench", "goldfish", "he n")),
        ("0\n1\n2", ("0", "1", "2")),
        ("1 euro\n2 euro\n3 euro", ("1 euro", "2 euro", "3 euro")),
        ("[unknown]\ncat\ndog", ("[unknown]", "cat", "dog")),
        ("猫\n犬\n🐟", ("猫", "犬", "🐟")),
    ],
)
def test_a_list_is_read_whole(text, names, read):
    found = read(text, 3)
    assert found.names == found.titles == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("background\ncat\ndog\neel", "begins with 'background'"),
        (json.dumps(["background", "cat", "dog", "eel"]), "begins with 'background'"),
        ("{0: 'cat', 1: 'dog'", "is no list of classes"),
        ("{0: 'cat', 1: 'dog', 3: 'eel'}", "is no list of classes"),
        ("{0: __import__('os').system('touch was-run'), 1: 'dog', 2: 'eel'}", "is no list of classes"),
        ('{"0": {"name": "cat"}, "1": "dog", "2": "eel"}', "is no list of classes"),
        ('{"cat": 0, "dog": 1, "cat": 2}', "has an entry 'cat' twice: which of the two"),
        ('{"0": "cat", "1": "dog", "1": "eel", "2": "fox"}', "has an entry '1' twice"),
        ("{0: 'cat', 1: 'dog', 1: 'eel', 2: 'fox'}", "has an entry 1 twice"),
        ("[" * 100_000 + "\n", "is no list of classes"),
        ("[" + "-" * 200_000 + "1]", "is no list of classes"),
        ("{0: 'cat', 1: 'dog'}", "network has 3 classes and"),
        ("background\nn01440764\nn01443537\nn01484850", "begins with 'background'"),
        ("cat\ndog\n1: x", None),
        ("n01440764 a\nn01443537 b\nn01440764 c", "the class 'n01440764' twice"),
        ("", "names 0"),
    ],
    ids=lambda text: (text or "whole")[:24],
)
def test_what_is_no_such_list_is_refused_in_a_sentence(text, said, read):
    if said is None:
        assert len(read(text, 3).names) == 3
        return
    with pytest.raises(DataError, match=said) as refused:
        read(text, 3)
    assert len(str(refused.value)) - len(str(refused.value).split(" ")[0]) < 150


def test_classes_that_share_a_name_are_told_apart_from_all_others(read):
    for text in ("a\na\na (0)\nb", "crane\ncrane\ncrane (1)\ncrane (1) (1)"):
        names, titles = read(text, 4)
        assert len({*names}) == len({*titles}) == 4


def test_a_list_that_windows_wrote_is_read(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_bytes("猫\r\nhen\r\n".encode("utf-16"))
    assert read_class_names(file, 2).names == ("猫", "hen")
    file.write_bytes("Übung\r\n".encode("cp1252"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        read_class_names(file, 1)


def dataset(*classes):
    return SimpleNamespace(path="data/x", classes=classes, titles=tuple(name.upper() for name in classes))


def test_a_dataset_names_the_classes_if_their_number_and_order_agree():
    assert class_names(2, None, dataset("cat", "dog")) == (("cat", "dog"), ("CAT", "DOG"))
    with pytest.raises(DataError, match="network has 3 classes and the dataset data/x names 2"):
        class_names(3, None, dataset("cat", "dog"))
    with pytest.raises(DataError, match="order of their WordNet ids"):
        class_names(2, None, dataset("n00000002", "n00000001"))


def test_a_list_names_the_classes_and_the_dataset_has_to_agree(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("n00000002 great shark, jaws\nn00000001\ttench\n\nplain words\nn00000003\n")
    found = read_class_names(file)
    assert found.names == ("n00000002", "n00000001", "plain words", "n00000003")
    assert found.titles == ("great shark", "tench", "plain words", "n00000003")
    assert class_names(4, file, dataset(*found.names)).titles == found.titles
    with pytest.raises(DataError, match="in the same order"):
        class_names(4, file, dataset(*sorted(found.names)))


def test_imagenets_classes_in_another_order_are_not_those_of_published_weights(tmp_path):
    ids = list(imagenet_words())
    file = tmp_path / "map_clsloc.txt"  # as the devkit has it, in the order of ILSVRC's ids
    file.write_text("\n".join(f"{name} {number} word" for number, name in enumerate([*ids[5:], *ids[:5]], 1)))
    with pytest.raises(DataError, match="in another order than that of their WordNet ids"):
        class_names(1000, file, None, imagenet=True)
    assert class_names(1000, file, None).names[0] == ids[5], "another network may have that order"
    file.write_text("\n".join(ids))
    assert list(class_names(1000, file, None, imagenet=True).names) == ids


def test_classes_of_another_imagenet_are_not_those_of_published_weights(tmp_path):
    ids = list(imagenet_words())
    of_2010 = sorted([*ids[1:], "n01440765"])  # as many, some of them other synsets
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(of_2010))
    for labels, data in ((file, None), (None, dataset(*of_2010))):
        with pytest.raises(DataError, match=r"other classes than ImageNet 2012, .* \(n01440765, for one\): leave --"):
            class_names(1000, labels, data, imagenet=True)
        assert class_names(1000, labels, data).names == tuple(of_2010), "another network may have them"
    assert class_names(1000, None, dataset(*ids), imagenet=True).names == tuple(ids)
    words = dataset(*map(str, range(1000)))
    assert class_names(1000, None, words, imagenet=True).names == words.classes, "names of one's own"


@pytest.mark.parametrize(
    "names",
    [
        sorted(FIRST),  # "crane" and "maillot" twice
        sorted(name.replace(" ", "_") for name in {*FIRST, "crane bird", "tank suit"}),  # as folders are called
        WORDS[::-1],
        [FIRST[1], FIRST[0], *FIRST[2:]],
    ],
    ids=["alphabetical", "folders", "reversed", "two"],
)
def test_imagenets_words_in_another_order_are_not_those_of_published_weights(tmp_path, names):
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(names))
    for labels, data in ((file, None), (None, dataset(*names))):
        with pytest.raises(DataError, match="in another order than that of their WordNet ids: leave --"):
            class_names(1000, labels, data, imagenet=True)
        assert class_names(1000, labels, data).names[10] == names[10], "another network may have that order"


@pytest.mark.parametrize(
    "changed",
    [
        {836: "sunglasses"},  # as 837 is called
        {label: f"thing {label}" for label in range(100)},
        {0: "goldfish", 1: "tench"} | {label: f"thing {label}" for label in range(100, 200)},
    ],
    ids=["shared", "own", "mixed"],
)
def test_names_of_ones_own_may_stand_for_published_classes(tmp_path, changed):
    names = [changed.get(label, words) for label, words in enumerate(FIRST)]
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(names))
    assert class_names(1000, file, None, imagenet=True).names[:100] == tuple(names[:100])
    assert class_names(1000, None, dataset(*names), imagenet=True).names == tuple(names)
