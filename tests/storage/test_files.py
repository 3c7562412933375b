"""Files that appear whole, and stay."""

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from full_disk import full_after

from alexnet_keras.errors import UsageError
from alexnet_keras.storage import files
from alexnet_keras.storage.files import allocate, partial_path, save_array, write_by_rename, write_directory_by_rename


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="directories are not flushed here")
def test_the_file_is_flushed_before_its_rename_and_the_directory_after_it(tmp_path, monkeypatch):
    flushed = []

    def fsync(descriptor):
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        flushed.append(("directory" if is_directory else "file", (tmp_path / "made").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with write_by_rename(tmp_path / "made") as path:
        path.write_text("whole")
    assert flushed == [("file", False), ("directory", True)]
    assert (tmp_path / "made").read_text() == "whole"


def test_a_file_system_that_cannot_flush_directories_is_no_error(tmp_path, monkeypatch):
    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    with write_by_rename(tmp_path / "made") as path:
        path.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["made"]


def test_two_that_write_the_same_path_write_it_whole_each(tmp_path, monkeypatch):
    with write_by_rename(tmp_path / "made.txt") as one:
        one.write_text("one")
        monkeypatch.setattr(files, "process_name", lambda: "elsewhere-1")
        with write_by_rename(tmp_path / "made.txt") as other:
            assert one != other and one.suffix == other.suffix == ".txt"
            other.write_text("other")
        assert (tmp_path / "made.txt").read_text() == "other"
    assert (tmp_path / "made.txt").read_text() == "one"
    assert [file.name for file in tmp_path.iterdir()] == ["made.txt"]


def test_a_directory_appears_whole_and_takes_the_place_of_another_only_where_it_is_to(tmp_path):
    path = tmp_path / "new" / "made"
    partial_path(path).mkdir(parents=True)
    (partial_path(path) / "left").touch()  # by a killed process that had our number
    with write_directory_by_rename(path) as partial:
        (partial / "one").touch()
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["one"]
    with pytest.raises(UsageError, match=f"^{path} exists, which it did not before"), write_directory_by_rename(path):
        pass
    with pytest.raises(ValueError, match="wrong"), write_directory_by_rename(path, replacing=True):
        raise ValueError("wrong")
    assert [file.name for file in path.parent.iterdir()] == ["made"] and (path / "one").exists()
    with write_directory_by_rename(path, replacing=True) as partial:
        (partial / "two").touch()
    assert [file.name for file in path.iterdir()] == ["two"]


def test_a_directory_that_is_replaced_is_whole_until_the_new_one_is_there(tmp_path, monkeypatch):
    path, removed, remove = tmp_path / "made", [], shutil.rmtree

    def rmtree(folder, **options):
        if folder.exists():
            removed.append([file.name for file in path.iterdir()])
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    for name in ("old", "new"):
        with write_directory_by_rename(path, replacing=True) as partial:
            (partial / name).touch()
    assert removed == [["new"]]


def test_of_two_that_replace_a_directory_the_second_replaces_the_firsts_and_nothing_else_is_left(tmp_path, monkeypatch):
    path, real = tmp_path / "made", files.replace
    path.mkdir()

    def beaten(whole, place):
        monkeypatch.setattr(files, "replace", real)
        (path / "theirs").mkdir(parents=True)
        real(whole, place)

    with write_directory_by_rename(path, replacing=True) as partial:
        (partial / "ours").touch()
        monkeypatch.setattr(files, "replace", beaten)
    assert [file.name for file in path.iterdir()] == ["ours"]
    assert [file.name for file in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=type)
def test_a_directory_that_cannot_be_replaced_stays(tmp_path, monkeypatch, error):
    path = tmp_path / "made"
    (path / "old").mkdir(parents=True)

    def failing(*paths):
        raise error

    monkeypatch.setattr(files, "replace", failing)
    with pytest.raises(type(error)), write_directory_by_rename(path, replacing=True):
        pass
    assert [file.name for file in tmp_path.rglob("*")] == ["made", "old"]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
def test_an_interruption_at_any_rename_leaves_one_whole_directory(tmp_path, monkeypatch, number, place):
    path, renamed = tmp_path / "made", []
    (path / "old").mkdir(parents=True)

    def interrupted(rename):
        def renames(one, to):
            renamed.append(to)
            if len(renamed) == number and place == "before":
                raise KeyboardInterrupt
            rename(one, to)
            if len(renamed) == number:
                raise KeyboardInterrupt

        return renames

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, interrupted(getattr(Path, name)))
    with pytest.raises(KeyboardInterrupt), write_directory_by_rename(path, replacing=True) as partial:
        (partial / "new").mkdir()
    assert [file.name for file in tmp_path.rglob("*")] == ["made", "new" if (number, place) == (2, "after") else "old"]


def test_a_directory_that_a_killed_process_was_replacing_comes_back(tmp_path):
    write = """if True:
        import os, signal, sys
        from pathlib import Path
        from alexnet_keras.storage import files
        files.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
        with files.write_directory_by_rename(Path(sys.argv[1]), replacing=True):
            pass
    """
    path = tmp_path / "made"
    (path / "old").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", write, path])
    assert not path.exists()
    partial_path(tmp_path / "other")
    assert [file.name for file in tmp_path.rglob("*")] == ["made", "old"]


def test_what_killed_processes_left_is_removed_and_what_live_ones_write_is_not(tmp_path):
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    host, _, _ = files.process_name().rpartition("-")
    dead = tmp_path / f".partial-{host}-{process.stdout.strip()}-report.html"
    (tmp_path / f".partial-{host}-{process.stdout.strip()}-model").mkdir()
    (tmp_path / f".replaced-{host}-{process.stdout.strip()}-made" / "old").mkdir(parents=True)
    (tmp_path / "made" / "new").mkdir(parents=True)  # which had taken its place
    alive, elsewhere = tmp_path / f".partial-{host}-{os.getppid()}-a", tmp_path / ".partial-another-host-1-a"
    for file in (dead, alive, elsewhere):
        file.write_text("x")
    partial_path(tmp_path / "b")
    assert {file.name for file in tmp_path.iterdir()} == {alive.name, elsewhere.name, "made"}
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["new"]


def test_a_container_with_the_machines_name_has_process_numbers_of_its_own(tmp_path, monkeypatch):
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    pid = process.stdout.strip()  # of no process here, but perhaps of one in a container
    start = f".partial-{socket.gethostname()}"
    names = [f"{start}-{pid}-b", f"{start}-4026532201-{pid}-b", f"{start}-4026532202-{pid}-b"]
    for ours, namespace in ((0, files.FIRST_NAMESPACE), (2, "pid:[4026532202]")):
        monkeypatch.setattr(Path, "readlink", lambda path, link=namespace: Path(link))
        folder = tmp_path / str(ours)
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        assert partial_path(folder / "b").name == names[ours].replace(pid, str(os.getpid()))
        assert {path.name for path in folder.iterdir()} == {*names} - {names[ours]}


def test_a_full_disk_is_an_error_with_its_number_where_an_array_is_written(tmp_path):
    save_array(tmp_path / "made.npy", np.arange(6).reshape(2, 3).T)
    np.testing.assert_array_equal(np.load(tmp_path / "made.npy"), [[0, 3], [1, 4], [2, 5]])
    with full_after(4096):
        save_array(tmp_path / "made.npy", np.zeros(10_000))
    assert [file.name for file in tmp_path.iterdir()] == ["made.npy"] and np.load(tmp_path / "made.npy").any()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be taken here beforehand")
def test_space_is_taken_before_pages_are_written(tmp_path, monkeypatch):
    with (tmp_path / "made").open("wb") as file:
        file.truncate(2**20)
    assert (tmp_path / "made").stat().st_blocks == 0
    allocate(tmp_path / "made")
    assert (tmp_path / "made").stat().st_blocks * 512 >= 2**20

    def full(*values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        allocate(tmp_path / "made")


@pytest.mark.parametrize("write", [write_by_rename, write_directory_by_rename])
def test_an_error_of_the_disk_names_the_path_that_was_asked_for(tmp_path, write):
    path = tmp_path / "made"
    with pytest.raises(OSError, match="No space") as full, write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.filename == str(path)
    with pytest.raises(OSError, match="Read-only") as refused, write(path) as partial:
        raise OSError(errno.EROFS, "Read-only file system", f"{partial}/inside")
    assert refused.value.filename == f"{path}/inside"
    with pytest.raises(OSError, match="Input/output") as other, write(path):
        raise OSError(errno.EIO, "Input/output error", "elsewhere")
    assert other.value.filename == "elsewhere" and not list(tmp_path.iterdir())
