"""What is told of a machine in public, and what is not."""

import getpass
import json
import os
import re
import socket
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import keras
import pytest
from click.testing import CliRunner

from alexnet_keras.backend import backend_name
from alexnet_keras.cli.main import cli
from alexnet_keras.reports import bug_report
from alexnet_keras.runs import Run


def environment_shown(**environment):
    return bug_report.facts(environment)["environment"]


def test_settings_that_matter_are_told():
    told = environment_shown(TF_NUM_INTRAOP_THREADS="2", KERAS_BACKEND="jax", CUDA_VISIBLE_DEVICES="0,1", LANG="C")
    assert told == "CUDA_VISIBLE_DEVICES=0,1, KERAS_BACKEND=jax, TF_NUM_INTRAOP_THREADS=2"
    assert environment_shown(PATH="/bin") == "nothing that matters is set"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TF_CONFIG", "two-workers"),
        ("TF_XLA_FLAGS", "--xla_dump_to=/home/someone/dumps"),
        ("TF_API_TOKEN", "1234"),
        ("KERAS_HOME", "~/keras"),
        ("ALEXNET_HOME", "the-merger"),
        ("TF_RUN_NAME", f"of-{getpass.getuser()}"),
        ("TF_MASTER", socket.gethostname()),
    ],
)
def test_of_what_may_tell_too_much_only_that_it_is_set(name, value):
    assert environment_shown(**{name: value}) == f"{name} is set"


def test_the_report_is_one_markdown_table_without_paths(trained_folder, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    result = CliRunner().invoke(cli, ["info", "--markdown"])
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.strip().splitlines()
    assert lines[1] == "| --- | --- |" and all(line.startswith("| ") and line.endswith(" |") for line in lines)
    assert str(trained_folder) not in result.stdout and str(Path.home()) not in result.stdout
    cells = dict(line.strip("| ").split(" | ", 1) for line in lines[2:])
    assert cells["latest dataset"].startswith("colors, from folder: 3 classes, 36 train, 12 val; jpeg, fingerprint ")
    assert cells["latest run"] == "kept: recipe tiny, interrupted, 0 epochs, precision float32, seed 3"
    assert f"keras {keras.__version__}" in cells["versions"] and "TF_CONFIG is set" in cells["environment"]


@pytest.fixture
def trained_folder(prepared, tiny, tmp_path, monkeypatch):
    """A folder with a dataset and an unfinished run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / prepared.path.name).symlink_to(prepared.path)
    facts = {"recipe": "tiny", "status": "interrupted", "precision": "float32", "seed": 3}
    Run.create(tmp_path / "saved_models/kept", tiny, facts)
    return tmp_path


def test_a_damaged_run_is_a_fact_and_no_error(trained_folder):
    (trained_folder / "saved_models/kept/run.json").write_text("{")
    assert bug_report.facts({})["latest run"] == "cannot be read (DataError)"


def test_nothing_prepared_or_trained_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = bug_report.facts({})
    assert told["latest dataset"] == told["latest run"] == "none"


def test_gpus_are_those_of_nvidia_smi_and_its_failure_is_told(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A, 100 MiB, 1.2'\necho 'NVIDIA B, 200 MiB, 1.2'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert bug_report.facts({})["GPUs"] == "NVIDIA A, 100 MiB, 1.2; NVIDIA B, 200 MiB, 1.2"
    program.write_text("#!/bin/sh\nexit 9\n")
    assert bug_report.facts({})["GPUs"] == "unknown: nvidia-smi fails"


def test_a_missing_package_of_an_extra_is_named(monkeypatch):
    installed = {"faiss-cpu": None, "onnx": "1", "onnxruntime": None, "safetensors": "2"}
    monkeypatch.setattr(bug_report, "_version", lambda package: installed.get(package, "3"))
    told = bug_report.facts({})["extras"]
    assert "search (without faiss-cpu)" in told and "export (without onnxruntime)" in told
    assert "beam (apache-beam 3)" in told
    named = set(re.findall(r"(\w+) \(", told))
    assert named == {*metadata("alexnet-keras").get_all("Provides-Extra")} - {"gpu", "docs", "dev"}


def test_it_imports_neither_keras_nor_tensorflow():
    code = "import sys; from alexnet_keras.reports.bug_report import facts; facts(); print('keras' in sys.modules)"
    code += "; print('tensorflow' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["False", "False"], result.stderr


def test_the_backend_is_the_one_that_keras_will_have(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert backend_name() == "tensorflow"
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert backend_name() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert backend_name() == "jax"


def test_info_alone_shows_its_help_and_markdown_goes_alone():
    alone = CliRunner().invoke(cli, ["info"])
    assert alone.exit_code == 2 and "--markdown" in alone.stderr and "devices" in alone.stderr
    both = CliRunner().invoke(cli, ["info", "--markdown", "devices"])
    assert both.exit_code == 2 and "leave devices out" in both.stderr
