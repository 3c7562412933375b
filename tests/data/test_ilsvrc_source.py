"""ImageNet in every layout it comes in: the same images with the same labels, to the byte."""

import imagenet
import numpy as np
import pytest
import tensorflow as tf
from imagenet import HUGE, ILSVRC_IDS, LAYOUTS, TEST_TRUTH, VAL_TRUTH, WNIDS, WORDS
from tiers import rest_slow

from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.ilsvrc import ilsvrc_source
from alexnet_keras.data.sources.synsets import synsets_source
from alexnet_keras.errors import DataError


def examples(prepared, *splits):
    """Every serialised record, by file name; the name and label of each are told apart for messages."""
    found = {}
    for split in splits:
        for shard in prepared.splits[split]:
            for record in tf.data.TFRecordDataset(str(shard.path)).as_numpy_iterator():
                features = tf.train.Example.FromString(record).features.feature
                found[features["filename"].bytes_list.value[0].decode()] = record
    return found


@pytest.fixture(scope="module")
def from_tars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ilsvrc")
    source = ilsvrc_source(imagenet.as_tars(folder / "in"))
    return prepare(source, folder / "set", shard_examples=8)


def test_from_the_official_tars_every_image_has_its_label_and_its_name(from_tars):
    assert from_tars.classes == tuple(WNIDS)
    assert from_tars.words == tuple(WORDS[wnid] for wnid in WNIDS)
    assert from_tars.ids == tuple(ILSVRC_IDS[wnid] for wnid in WNIDS)
    assert from_tars.titles[2] == "English springer"
    made = imagenet.train_images()
    wanted = {f"{wnid}/{name}": label for label, wnid in enumerate(WNIDS) for name in made[wnid] if name != HUGE}
    wanted |= {f"ILSVRC2012_val_{i:08d}.JPEG": WNIDS.index(wnid) for i, wnid in enumerate(VAL_TRUTH, start=1)}
    found = {
        name: tf.train.Example.FromString(record).features.feature["label"].int64_list.value[0]
        for name, record in examples(from_tars, "train", "val").items()
    }
    assert found == wanted
    assert [(bad["filename"], bad["reason"]) for bad in from_tars.rejected] == [
        (f"n03000684/{HUGE}", "60000x60000 pixels is more than 100,000,000")
    ]


@pytest.mark.parametrize("layout", rest_slow(LAYOUTS, first=2))
def test_every_layout_gives_the_same_bytes_per_example_in_the_same_order(layout, from_tars, tmp_path):
    source = ilsvrc_source(LAYOUTS[layout](tmp_path / "in"))
    found = prepare(source, tmp_path / "set", shard_examples=8)
    assert list(examples(found, "train")) == list(examples(from_tars, "train"))
    assert examples(found, "train", "val") == examples(from_tars, "train", "val")
    assert found.rejected == from_tars.rejected


@pytest.mark.parametrize("whole", rest_slow((False, True)))
def test_archives_of_synsets_give_the_same_bytes_per_example(whole, from_tars, tmp_path):
    place = imagenet.as_synsets(tmp_path / "in")
    if whole:
        tars = {path.name: path.read_bytes() for path in place.glob("*.tar")}
        place = tmp_path / "in/fall11_whole.tar"
        place.write_bytes(imagenet.tar_of(tars))
    source = synsets_source(place, holdout=0.3)
    found = prepare(source, tmp_path / "set", shard_examples=8)
    assert examples(found, "train", "val") == examples(from_tars, "train")
    assert found.classes == from_tars.classes
    assert found.words == from_tars.words
    counts = np.array([found.class_counts("train"), found.class_counts("val")])
    assert (counts > 0).all(), "some of every class are held out, and not all"
    assert counts.sum() == len(examples(from_tars, "train"))


def test_ilsvrc_order_is_the_devkits(from_tars, tmp_path):
    source = ilsvrc_source(imagenet.as_tars(tmp_path / "in"), class_order="ilsvrc")
    assert source.classes == tuple(sorted(WNIDS, key=ILSVRC_IDS.get)) != tuple(WNIDS)
    assert source.words[0] == "goldfish, Carassius auratus"
    val = source.splits["val"]
    assert [source.classes[label] for label in val.labels] == VAL_TRUTH
    for name, label in zip(source.splits["train"].filenames, source.splits["train"].labels, strict=True):
        assert name.startswith(source.classes[label])


def test_2010_has_a_test_split_with_labels(tmp_path):
    source = ilsvrc_source(imagenet.as_tars_of_2010(tmp_path / "in"))
    assert {split: len(images) for split, images in source.splits.items()} == {"train": 31, "val": 6, "test": 4}
    assert [source.classes[label] for label in source.splits["test"].labels] == TEST_TRUTH
    assert source.splits["test"].filenames[0] == "ILSVRC2010_test_00000001.JPEG"
    assert prepare(source, tmp_path / "set").examples("test") == 4


def test_2010s_test_labels_may_lie_beside_the_archives(tmp_path):
    folder = imagenet.as_tars_of_2010(tmp_path / "in")
    train = imagenet.train_images()
    devkit = imagenet.devkit_files(imagenet.counts_of(train), 2010)
    (folder / "ILSVRC2010_devkit-1.0.tar.gz").write_bytes(imagenet.gzipped_devkit(devkit, "devkit-1.0"))
    assert "no labels and is left out" in ilsvrc_source(folder).notes[0]
    lines = "".join(f"{ILSVRC_IDS[wnid]}\n" for wnid in TEST_TRUTH)
    (folder / "ILSVRC2010_test_ground_truth.txt").write_text(lines)
    source = ilsvrc_source(folder)
    assert [source.classes[label] for label in source.splits["test"].labels] == TEST_TRUTH


def test_an_outer_tar_that_was_unpacked_once_is_a_folder_of_tars(from_tars, tmp_path):
    folder = imagenet.as_tars(tmp_path / "in")
    inner = {f"{wnid}.tar": imagenet.tar_of(made) for wnid, made in imagenet.train_images().items()}
    imagenet.write_files(folder / "train", inner)
    (folder / "ILSVRC2012_img_train.tar").unlink()
    found = prepare(ilsvrc_source(folder), tmp_path / "set", shard_examples=8)
    assert examples(found, "train") == examples(from_tars, "train")


def test_without_a_validation_split_a_part_is_held_out(tmp_path):
    folder = imagenet.as_tars(tmp_path / "in")
    (folder / "ILSVRC2012_img_val.tar").unlink()
    source = ilsvrc_source(folder, holdout=0.5)
    assert len(source.splits["train"]) + len(source.splits["val"]) == 31
    assert abs(len(source.splits["val"]) - 15.5) < 3 * 0.5 * 31**0.5
    assert source.options["holdout"] == 0.5


def test_the_test_split_of_2010_stays_a_test_split_without_validation_images(tmp_path):
    folder = imagenet.as_tars_of_2010(tmp_path / "in")
    (folder / "ILSVRC2010_images_val.tar").unlink()
    source = ilsvrc_source(folder, holdout=0.5)
    assert [source.classes[label] for label in source.splits["test"].labels] == TEST_TRUTH
    assert {len(images) for images in source.splits.values()} > {4}
    assert set(source.splits["train"].filenames).isdisjoint(source.splits["val"].filenames)


def test_a_list_of_classes_leaves_the_others_out_of_every_split(tmp_path):
    folder = imagenet.as_tars(tmp_path / "in")
    (tmp_path / "two.txt").write_text("n03000684 chain saw\nn01440764\n")
    source = ilsvrc_source(folder, classes=tmp_path / "two.txt")
    assert source.classes == ("n01440764", "n03000684")
    assert source.words == ("tench, Tinca tinca", "chain saw")
    assert {name.partition("/")[0] for name in source.splits["train"].filenames} == set(source.classes)
    assert [source.classes[label] for label in source.splits["val"].labels] == [
        wnid for wnid in VAL_TRUTH if wnid in source.classes
    ]


def test_a_missing_image_is_noticed_where_the_names_have_the_labels(tmp_path):
    folder = imagenet.as_tars(tmp_path / "in")
    (folder / "ILSVRC2012_img_val.tar").unlink()
    flat = zip(sorted(imagenet.flat_images("val", 6).items()), VAL_TRUTH, strict=True)
    imagenet.write_files(folder / "val", {name.replace(".", f"_{wnid}."): image for (name, image), wnid in flat})
    assert len(ilsvrc_source(folder, partial=True).splits["val"]) > 0
    next((folder / "val").glob("*00000002_*")).unlink()
    with pytest.raises(DataError, match=r"val has 5 images and the devkit .* labels 6"):
        ilsvrc_source(folder)
    assert len(ilsvrc_source(folder, partial=True).splits["val"]) > 0


def test_the_index_is_kept_and_made_again_when_the_archive_changes(tmp_path):
    folder, cache = imagenet.as_tars(tmp_path / "in"), tmp_path / "cache"
    first = ilsvrc_source(folder, cache=cache)
    assert len(list(cache.iterdir())) == 2
    found = []
    again = ilsvrc_source(folder, cache=cache, advance=found.append)
    assert sum(found) == 0
    assert again.digest() == first.digest()
    assert [again.splits["train"].read(i) for i in (0, 9)] == [first.splits["train"].read(i) for i in (0, 9)]
    val = folder / "ILSVRC2012_img_val.tar"
    val.write_bytes(imagenet.tar_of({**imagenet.flat_images("val", 6), ".DS_Store": b"x" * 1000}))
    ilsvrc_source(folder, cache=cache, advance=found.append)
    assert sum(found) == 6
    (tmp_path / "file").write_text("where no folder can be")
    assert ilsvrc_source(folder, cache=tmp_path / "file" / "cache").digest() == ilsvrc_source(folder).digest()


def test_a_ground_truth_with_a_byte_order_mark_is_read(tmp_path):
    imagenet.as_folders(tmp_path)
    truth = tmp_path / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    before = ilsvrc_source(tmp_path).splits["val"].labels
    truth.write_bytes(b"\xef\xbb\xbf" + truth.read_bytes())
    after = ilsvrc_source(tmp_path).splits["val"].labels
    assert after.tolist() == before.tolist()


def test_litter_among_synsets_is_skipped_and_counted(tmp_path):
    imagenet.as_folders(tmp_path)
    imagenet.write_files(tmp_path / "train", {"@eaDir/1.jpg": b"a thumbnail", "n01440764/list.txt": b"no image"})
    source = ilsvrc_source(tmp_path)
    assert len(source.classes) == 4
    assert any("1 file that is not an image" in note for note in source.notes)
