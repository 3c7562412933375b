"""ImageNet that is damaged, incomplete or not what it says: what is wrong is named."""

import io
import shutil
import tarfile

import imagenet
import pytest
from imagenet import VAL_TRUTH

from alexnet_keras.data.sources.ilsvrc import ilsvrc_source
from alexnet_keras.data.sources.synsets import synsets_source
from alexnet_keras.errors import DataError, UsageError


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


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_that_were_not_moved_into_the_folders_are_not_left_out_unnoticed(tmp_path, split):
    folder = imagenet.as_class_folders(tmp_path / "in")
    image = next((folder / split / "n01440764").iterdir())
    image.rename(folder / split / image.name)
    with pytest.raises(
        DataError, match=f"{split} has images outside the folders of its synsets, {image.name}. .*partial"
    ):
        ilsvrc_source(folder)
    assert any("has images outside" in note for note in ilsvrc_source(folder, partial=True).notes)


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


def pack(name):
    """Leaves only a packed or unfinished form of an archive or folder of a synset."""

    def change(folder):
        whole = folder / f"{name.partition('.')[0]}.tar"
        shutil.rmtree(whole.with_suffix(""), ignore_errors=True)
        whole.unlink(missing_ok=True)
        (folder / name).touch()

    return change


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda f: (f / "n01440764.tar").write_bytes((f / "n01440764.tar").read_bytes()[:2000]),
            "n01440764.tar is cut",
        ),
        (lambda f: (f / "n09999999.tar").write_bytes((f / "n01440764.tar").read_bytes()), "words.txt: n09999999"),
        (lambda f: [path.unlink() for path in f.glob("*.tar")], "no archives called <wnid>.tar"),
        (pack("n01440764.tar.gz"), "n01440764.tar.gz is packed or not downloaded to its end"),
        (pack("n01440764.tar.part"), "n01440764.tar.part is packed or not downloaded to its end"),
        (lambda f: (f / "n01440764.tar.aria2").touch(), "to its end, as n01440764.tar.aria2 shows"),
        (
            lambda f: (f / "ILSVRC2012_img_val.tar").write_bytes((f / "n01440764.tar").read_bytes()),
            "not named by a WordNet id: ILSVRC2012_img_val. Move them away",
        ),
    ],
)
def test_what_is_wrong_with_archives_of_synsets_is_named(spoil, words, tmp_path):
    folder = imagenet.as_synsets(tmp_path / "in")
    spoil(folder)
    with pytest.raises(DataError, match=words):
        synsets_source(folder)


def test_packed_or_strange_archives_of_synsets_that_are_not_taken_are_left_alone(tmp_path):
    folder = imagenet.as_synsets(tmp_path / "in")
    pack("n01440764.tar.gz")(folder)
    for name in ("n01443537.tar.aria2", "n02102040.tar.gz", "readme.zip"):  # n02102040.tar is whole and unpacked
        (folder / name).touch()
    (folder / "ILSVRC2012_img_val.tar").write_bytes((folder / "n02102040.tar").read_bytes())
    (tmp_path / "list.txt").write_text("n02102040\nn03000684\n")
    assert synsets_source(folder, classes=tmp_path / "list.txt").classes == ("n02102040", "n03000684")


def test_an_archive_of_archives_holds_synsets(tmp_path):
    tars = {f"{name}.tar": imagenet.tar_of({f"{name}_1.JPEG": b"x"}) for name in ("n01440764", "n01443537", "val")}
    (tmp_path / "whole.tar").write_bytes(imagenet.tar_of(tars))
    with pytest.raises(DataError, match="not named by a WordNet id: val"):
        synsets_source(tmp_path / "whole.tar")


@pytest.mark.parametrize("folders", [False, True])
def test_a_packed_synset_of_a_training_folder_is_refused_where_it_is_taken(folders, tmp_path):
    folder = imagenet.as_class_folders(tmp_path / "in")
    shutil.rmtree(folder / "val")
    if not folders:
        for path in list((folder / "train").iterdir()):
            files = {image.name: image.read_bytes() for image in path.iterdir()}
            path.with_suffix(".tar").write_bytes(imagenet.tar_of(files))
            shutil.rmtree(path)
    pack("n01440764.tgz" if folders else "n01440764.tar.xz")(folder / "train")
    with pytest.raises(DataError, match="is packed or not downloaded to its end: unpack or finish it, or move"):
        ilsvrc_source(folder, partial=True)
    (tmp_path / "list.txt").write_text("n02102040\nn03000684\nn01443537\n")
    assert len(ilsvrc_source(folder, partial=True, classes=tmp_path / "list.txt").classes) == 3


@pytest.mark.parametrize("labels", ["names", "solution"])
def test_validation_images_of_unknown_synsets_are_not_left_out_unnoticed(labels, tmp_path):
    if labels == "solution":
        folder = imagenet.as_kaggle(tmp_path / "in")
        solution = folder / "LOC_val_solution.csv"
        solution.write_text(solution.read_text().replace("n01440764", "n09999999"))
    else:
        folder = imagenet.as_class_folders(tmp_path / "in")
        for path in list((folder / "val").iterdir()):
            wnid = path.name.replace("n01440764", "n09999999")
            for image in path.iterdir():
                image.rename(folder / "val" / f"{image.stem}_{wnid}.JPEG")
            path.rmdir()
    with pytest.raises(DataError, match=r"val has 2 images of n09999999, which are no synsets of train\. .*--partial"):
        ilsvrc_source(folder)
    source = ilsvrc_source(folder, partial=True)
    assert len(source.splits["val"]) == len(VAL_TRUTH) - 2
    assert any("no synsets of train: 2 images of n09999999." in note for note in source.notes)


@pytest.mark.parametrize(
    "name, target, words",
    [
        ("val", "/mnt/gone", "val is a link to /mnt/gone, which is not there. Mount or download it"),
        ("ILSVRC2012_img_val.tar", "/mnt/gone", "img_val.tar is a link to /mnt/gone, which is not there"),
        ("train/n02000000", "/mnt/gone", "train/n02000000 is a link to /mnt/gone, which is not there"),
        ("train/tench", "n01440764", "train has one folder under two names, n01440764 and tench. Remove one"),
    ],
)
def test_links_that_lose_or_double_images_are_refused(name, target, words, tmp_path):
    folder = imagenet.as_class_folders(tmp_path / "in")
    shutil.rmtree(folder / "val")
    (folder / "train/up").symlink_to("..")
    (folder / "train/readme.txt").symlink_to("/mnt/gone")
    assert ilsvrc_source(folder).classes == tuple(imagenet.WNIDS)
    (folder / name).symlink_to(target)
    with pytest.raises(DataError, match=words):
        ilsvrc_source(folder)


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
