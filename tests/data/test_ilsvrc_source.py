"""ImageNet in every layout it comes in: the same images with the same labels, to the byte."""

import io
import shutil
import tarfile

import imagenet
import numpy as np
import pytest
import tensorflow as tf
from imagenet import HUGE, ILSVRC_IDS, LAYOUTS, TEST_TRUTH, VAL_TRUTH, WNIDS, WORDS
from tiers import rest_slow

from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.ilsvrc import ilsvrc_source, synsets_source
from alexnet_keras.errors import DataError, UsageError


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


# What is wrong is named


def replace_tar(folder, name, files=None, change=None):
    path = folder / name
    path.write_bytes(imagenet.tar_of(files) if change is None else change(path.read_bytes()))


def add_member(folder, name, kind=tarfile.REGTYPE, archive="ILSVRC2012_img_val.tar"):
    """Add a member to an archive that holds nothing else of its kind."""
    made = io.BytesIO((folder / archive).read_bytes())
    with tarfile.open(fileobj=made, mode="a") as opened:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "elsewhere" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        member.size = 3 if kind == tarfile.REGTYPE else 0
        opened.addfile(member, io.BytesIO(b"abc") if member.size else None)
    (folder / archive).write_bytes(made.getvalue())


def without(files, key):
    return {name: contents for name, contents in files.items() if key not in name}


def nested(train):
    return {f"{wnid}.tar": imagenet.tar_of(made, top=()) for wnid, made in train.items()}


def cut(name, keep):
    return lambda folder: replace_tar(folder, name, change=lambda whole: whole[: int(len(whole) * keep)])


def more_in_the_devkit(folder):
    counts = {**imagenet.counts_of(imagenet.train_images()), "n01440764": 1300}
    made = imagenet.gzipped_devkit(imagenet.devkit_files(counts), "ILSVRC2012_devkit_t12")
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(made)


def other_truth(truth):
    def change(folder):
        counts = imagenet.counts_of(imagenet.train_images())
        files = imagenet.devkit_files(counts, val=truth if isinstance(truth[0], str) else VAL_TRUTH)
        if not isinstance(truth[0], str):
            files["data/ILSVRC2012_validation_ground_truth.txt"] = b"\n".join(b"%d" % line for line in truth)
        made = imagenet.gzipped_devkit(files, "ILSVRC2012_devkit_t12")
        (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(made)

    return change


def one_synset_less(folder):
    replace_tar(folder, "ILSVRC2012_img_train.tar", without(nested(imagenet.train_images()), "n01443537"))


def a_strange_synset(folder):
    train = nested(imagenet.train_images())
    replace_tar(folder, "ILSVRC2012_img_train.tar", {**train, "n09999999.tar": train["n01440764.tar"]})


def a_image_twice(folder):
    train = imagenet.train_images()
    made = io.BytesIO(imagenet.tar_of(train["n02102040"], top=()))
    with tarfile.open(fileobj=made, mode="a") as archive:
        archive.addfile(tarfile.TarInfo("n02102040_0.JPEG"))
    replace_tar(folder, "ILSVRC2012_img_train.tar", {**nested(train), "n02102040.tar": made.getvalue()})


def a_file_among_the_tars(folder):
    replace_tar(folder, "ILSVRC2012_img_train.tar", {**nested(imagenet.train_images()), "readme.txt": b"hello"})


def compressed(folder):
    import gzip

    replace_tar(folder, "ILSVRC2012_img_val.tar", change=gzip.compress)


def gone(name):
    return lambda folder: (folder / name).unlink()


def spoilt_meta(folder):
    files = imagenet.devkit_files(imagenet.counts_of(imagenet.train_images()))
    files["data/meta.mat"] = files["data/meta.mat"][:200]
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(imagenet.gzipped_devkit(files, "t12"))


def without_meta(folder):
    files = imagenet.devkit_files(imagenet.counts_of(imagenet.train_images()))
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(imagenet.gzipped_devkit(without(files, "meta"), "t12"))


@pytest.mark.parametrize(
    "spoil, words",
    [
        (cut("ILSVRC2012_img_val.tar", 0.5), "img_val.tar is cut short"),
        (cut("ILSVRC2012_img_train.tar", 0.5), "img_train.tar is cut short"),
        (cut("ILSVRC2012_img_train.tar", 0.0), "img_train.tar is cut short"),
        (lambda f: replace_tar(f, "ILSVRC2012_img_val.tar", change=lambda t: t.rstrip(b"\0")), "val.tar is cut short"),
        (lambda f: replace_tar(f, "ILSVRC2012_img_val.tar", change=lambda t: b"no tar" * 500), "no tar archive"),
        (compressed, "compressed and cannot be read at random"),
        (lambda f: add_member(f, "../../etc/evil.JPEG"), "'../../etc/evil.JPEG' that climbs out"),
        (lambda f: add_member(f, "/etc/evil.JPEG"), "'/etc/evil.JPEG' that climbs out"),
        (lambda f: add_member(f, "link.JPEG", tarfile.SYMTYPE), "has the link 'link.JPEG'"),
        (lambda f: add_member(f, "link.JPEG", tarfile.LNKTYPE), "has the link 'link.JPEG'"),
        (lambda f: add_member(f, "null", tarfile.CHRTYPE), "has the device or other special file 'null'"),
        (lambda f: add_member(f, "ILSVRC2012_val_00000007.JPEG"), "ILSVRC2012_val_00000007.JPEG of .* has no label"),
        (lambda f: add_member(f, "cat.JPEG"), "cat.JPEG of .* has no label"),
        (lambda f: add_member(f, "ILSVRC2012_val_00000006.JPEG"), "two members called 'ILSVRC2012_val_00000006.JPEG'"),
        (lambda f: add_member(f, "ILSVRC2012_val_6.JPEG"), "two images of the number of ILSVRC2012_val_0*6.JPEG"),
        (a_image_twice, "two members called 'n02102040/n02102040_0.JPEG'"),
        (more_in_the_devkit, r"6 images of n01440764 and .* counts 1,300. .*--partial"),
        (other_truth([*VAL_TRUTH, "n01440764"]), "6 images and .* labels 7. .*--partial"),
        (other_truth(VAL_TRUTH[:4]), "ILSVRC2012_val_00000005.JPEG and 1 more of .* has no label"),
        (other_truth([1, 2, 3, 9, 1, 1]), "Line 4 of .* is '9', which is no ILSVRC id"),
        (other_truth([5, 2, 3, 4, 1, 1]), "Line 1 of .* is '5', which is no ILSVRC id"),
        (one_synset_less, "no images of n01443537, which .* names"),
        (a_strange_synset, "synsets that are not in .*devkit.*: n09999999"),
        (a_file_among_the_tars, "should hold a tar for each synset, and has 'readme.txt'"),
        (gone("ILSVRC2012_devkit_t12.tar.gz"), "has no devkit"),
        (gone("ILSVRC2012_img_train.tar"), "no training images of ILSVRC"),
        (cut("ILSVRC2012_devkit_t12.tar.gz", 0.6), "devkit .* is cut short or damaged"),
        (spoilt_meta, "meta.mat of the devkit .* cannot be read"),
        (without_meta, "has no data/meta.mat"),
        (lambda f: (f / "ILSVRC2010_images_val.tar").touch(), "more than one challenge: 2010, 2012"),
    ],
)
def test_what_is_wrong_with_a_set_is_named(spoil, words, tmp_path):
    folder = imagenet.as_tars(tmp_path / "in")
    spoil(folder)
    with pytest.raises(DataError, match=words):
        ilsvrc_source(folder)


@pytest.mark.parametrize("lacking", ["a class", "an image"])
def test_validation_folders_have_all_classes_and_images(tmp_path, lacking):
    folder = imagenet.as_class_folders(tmp_path / "in")
    devkit, place = imagenet.devkit_files(imagenet.counts_of(imagenet.train_images())), folder / "val"
    imagenet.write_files(folder / "ILSVRC2012_devkit_t12", devkit)
    assert len(ilsvrc_source(folder).splits["val"]) == len(VAL_TRUTH)
    if lacking == "a class":
        shutil.rmtree(place / "n01440764")
        words = "has no folder for n01440764. .*--partial"
    else:
        next((place / "n01440764").iterdir()).unlink()
        words = "has 5 images and .* labels 6. .*--partial"
    with pytest.raises(DataError, match=words):
        ilsvrc_source(folder)
    assert len(ilsvrc_source(folder, partial=True).splits["val"]) < len(VAL_TRUTH)


@pytest.mark.parametrize("spoil", [more_in_the_devkit, one_synset_less, other_truth([*VAL_TRUTH, "n01440764"])])
def test_a_part_of_the_set_is_accepted_when_that_is_said(spoil, tmp_path):
    folder = imagenet.as_tars(tmp_path / "in")
    spoil(folder)
    source = ilsvrc_source(folder, partial=True)
    assert len(source.classes) == (3 if spoil is one_synset_less else 4)
    names = [source.classes[label] for label in source.splits["val"].labels]
    assert names == [wnid for wnid in VAL_TRUTH if wnid in source.classes]


def test_a_list_with_an_unknown_class_is_refused(tmp_path):
    folder = imagenet.as_tars(tmp_path / "in")
    (tmp_path / "list.txt").write_text("n01440764\nn01443537\nn09999999 ghost\n")
    with pytest.raises(DataError, match="names classes that the source does not have: n09999999"):
        ilsvrc_source(folder, classes=tmp_path / "list.txt")


def test_ilsvrc_order_needs_a_devkit(tmp_path):
    with pytest.raises(UsageError, match="use --class-order wnid"):
        ilsvrc_source(imagenet.as_kaggle(tmp_path / "in"), class_order="ilsvrc")


def test_kaggles_solution_without_an_image_of_the_split_is_named(tmp_path):
    folder = imagenet.as_kaggle(tmp_path / "in")
    lines = (folder / "LOC_val_solution.csv").read_text().splitlines()
    (folder / "LOC_val_solution.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"ILSVRC2012_val_00000001.JPEG of .* has no label"):
        ilsvrc_source(folder)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda f: (f / "n01440764.tar").write_bytes((f / "n01440764.tar").read_bytes()[:2000]),
            "n01440764.tar is cut",
        ),
        (lambda f: (f / "n09999999.tar").write_bytes((f / "n01440764.tar").read_bytes()), "words.txt: n09999999"),
        (lambda f: [path.unlink() for path in f.glob("*.tar")], "no archives called <wnid>.tar"),
    ],
)
def test_what_is_wrong_with_archives_of_synsets_is_named(spoil, words, tmp_path):
    folder = imagenet.as_synsets(tmp_path / "in")
    spoil(folder)
    with pytest.raises(DataError, match=words):
        synsets_source(folder)


def test_an_empty_archive_of_a_synset_is_left_out(tmp_path):
    folder = imagenet.as_synsets(tmp_path / "in")
    (folder / "n02102040.tar").write_bytes(imagenet.tar_of({}, top=()))
    source = synsets_source(folder)
    assert source.classes == ("n01440764", "n01443537", "n03000684")
    assert "n02102040" in source.notes[0]
    (tmp_path / "list.txt").write_text("n02102040\nn01440764\n")
    with pytest.raises(DataError, match=r"n02102040, which .* names, is empty"):
        synsets_source(folder, classes=tmp_path / "list.txt")


def test_a_meta_mat_that_ends_its_reader_is_bad_data(tmp_path, monkeypatch):
    """SciPy reads what a damaged file points at, wherever that is."""
    from alexnet_keras.data.sources import devkit

    kit = imagenet.as_folders(tmp_path / "in") / "ILSVRC2012_devkit_t12"
    assert devkit.read_devkit(kit).synsets
    devkit._read_meta.cache_clear()
    monkeypatch.setattr(devkit, "READER", "faulthandler")  # a module that reads nothing and says nothing
    with pytest.raises(DataError, match=r"meta\.mat of the devkit .* is so damaged that its reader ended"):
        devkit.read_devkit(kit)
    devkit._read_meta.cache_clear()


@pytest.mark.parametrize(
    "name", ["ILSVRC2012_img_val.tar.gz", "val.zip", "val_images.tar.gz", "ILSVRC2012_img_val.tar.part"]
)
def test_a_packed_validation_split_is_not_ignored(tmp_path, name):
    imagenet.as_folders(tmp_path)
    imagenet.write_files(tmp_path, {name: b"x"})
    (tmp_path / "val").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=f"{name} is still packed") as error:
        ilsvrc_source(tmp_path)
    assert error.value.exit_code == 3


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
