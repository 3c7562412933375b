"""Files that appear whole, and stay."""

import os
import stat

import pytest

from alexnet_keras.files import write_by_rename


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
