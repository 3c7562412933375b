"""Results as files, and two of them side by side."""

import dataclasses
import json
import subprocess
import sys

import pytest

from alexnet_keras.benchmarking.measure import matrix_product
from alexnet_keras.benchmarking.result import (
    FORMAT,
    Measurement,
    Repeat,
    Request,
    Result,
    changes,
    differences,
    read_result,
)
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.machine import this_machine
from alexnet_keras.storage.documents import write_json

READ = ("input", "input-raw")


@pytest.fixture
def result():
    repeats = (Repeat(8, 2.0, 4e9), Repeat(8, 4.0, 2e9), Repeat(8, 1.0, 2e9))
    train = Measurement("steps", "CPU", repeats, 500_000_000, 300 * 2**20, 100 * 2**20, {"convolution": 0.75})
    prepare = Measurement("pictures", "CPU", (Repeat(100, 2.0),))
    request = Request({"name": "source"})
    return Result(FORMAT, "2026-01-01T00:00:00+00:00", this_machine(), request, {"train": train, "prepare": prepare})


def with_train(result, **changed):
    train = dataclasses.replace(result.measurements["train"], **changed)
    return dataclasses.replace(result, measurements={**result.measurements, "train": train})


def test_figures_follow_from_the_repeats(result):
    figures = result.measurements["train"].figures
    assert figures["images/s"] == (4.0, 2.0, 8.0)
    assert figures["GFLOP/s"] == (2.0, 1.0, 4.0)
    assert figures["% of matrix product"] == (50.0, 50.0, 200.0), "each repeat by the products beside it"
    assert figures["peak memory, MiB"].median == 300
    assert figures["of it since the libraries were loaded, MiB"].median == 200
    assert result.measurements["train"].step_ms == {"convolution": 1500.0}
    assert set(result.measurements["prepare"].figures) == {"images/s"}


def test_the_cores_that_input_needs_are_the_devices_rate_over_that_of_a_core(result):
    figures = {name: Measurement("crops", "CPU", (Repeat(300, 1.0, processor_seconds=2.0),)) for name in READ}
    figures["input-raw"] = Measurement("crops", "CPU", (Repeat(300, 1.0, processor_seconds=0.5),))
    both = dataclasses.replace(result, measurements={**result.measurements, **figures})
    assert figures["input"].figures["images/s a core"].median == 150
    assert both.cores_needed == {"input": 4 / 150, "input-raw": 4 / 600}, "4 images/s, as train was measured"
    asked = dataclasses.replace(both, request=dataclasses.replace(result.request, device_rate=27_000))
    assert asked.cores_needed == {"input": 180, "input-raw": 45}
    assert asked.to_dict()["cores_needed"] == asked.cores_needed
    assert dataclasses.replace(both, measurements=figures).cores_needed == {}, "no rate is known"
    assert result.cores_needed == {}, "no input was measured"


def test_a_result_reads_back_equal(result, tmp_path):
    path = tmp_path / "new" / "result.json"
    write_json(path, result.to_dict())
    assert read_result(path) == result
    written = json.loads(path.read_text())
    assert written["measurements"]["train"]["figures"]["images/s"] == {"median": 4.0, "least": 2.0, "most": 8.0}


def test_what_is_no_result_is_bad_data_and_what_is_not_there_wrong_usage(result, tmp_path):
    with pytest.raises(UsageError, match="There is no file"):
        read_result(tmp_path / "nothing.json")
    old = json.dumps({**result.to_dict(), "format": "another"})
    for number, text in enumerate(["", "{}", "[1]", "\xff", old, json.dumps(result.to_dict())[:-9]]):
        path = tmp_path / f"{number}.json"
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match="not a result"):
            read_result(path)
    with pytest.raises(DataError, match="not a result"):
        read_result(tmp_path)


def test_a_comparison_gives_the_ratio_of_medians(result):
    repeats = tuple(
        dataclasses.replace(each, seconds=each.seconds / 2) for each in result.measurements["train"].repeats
    )
    found = changes(result, with_train(result, repeats=repeats))
    assert found["train", "images/s"].ratio == pytest.approx(2.0)
    assert found["train", "ms a step"].ratio == pytest.approx(0.5)
    assert found["prepare", "images/s"].ratio == 1.0


def test_what_was_not_measured_then_is_shown_without_a_ratio(result):
    alone = dataclasses.replace(result, measurements={"train": result.measurements["train"]})
    found = changes(alone, result)
    assert found["prepare", "images/s"] == (None, result.measurements["prepare"].figures["images/s"])
    assert found["prepare", "images/s"].ratio is None and found["train", "images/s"].ratio == 1.0
    assert {name for name, _ in changes(result, alone)} == {"train"}


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("0", 7), ("", 7), ("many", 7)])
def test_threads_are_those_that_tensorflow_is_told_or_all_processors(given, threads, monkeypatch):
    monkeypatch.setattr("alexnet_keras.machine.usable_processors", lambda: 7)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", given)
    assert this_machine().threads == threads


def test_differences_that_explain_figures_are_told(result):
    assert differences(result, result) == []
    machine = dataclasses.replace(result.machine, processor="Z80", versions={**result.machine.versions, "keras": "0"})
    request = dataclasses.replace(result.request, batch_size=64, precision="mixed_bfloat16")
    other = dataclasses.replace(with_train(result, device="A GPU"), machine=machine, request=request)
    told = " ".join(differences(result, other))
    for part in ("processor", "Z80", "version of keras", "batch size was 128 then and is 64", "precision", "A GPU"):
        assert part in told
    assert len(differences(result, other)) == 5
    fewer = dataclasses.replace(result, machine=dataclasses.replace(result.machine, instructions=("avx2",)))
    (said,) = differences(
        fewer, dataclasses.replace(fewer, machine=dataclasses.replace(fewer.machine, instructions=()))
    )
    assert said == "the instruction sets for matrix products were avx2 then and are none of them now."
    recipe = dataclasses.replace(result, request=dataclasses.replace(result.request, recipe={"name": "paper"}))
    assert "recipe" in differences(result, recipe)[0]


def test_options_that_do_not_matter_for_what_was_measured_are_not_told(result):
    only = {"prepare": result.measurements["prepare"]}
    other = dataclasses.replace(result, measurements=only, request=dataclasses.replace(result.request, batch_size=1))
    assert differences(result, other) == []


@pytest.mark.slow
def test_the_peak_of_memory_grows_with_what_is_taken():
    code = "from alexnet_keras.benchmarking.measure import peak_bytes; print(peak_bytes()); "
    code += "block = b'x' * 2**28; print(peak_bytes()); del block; print(peak_bytes())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    before, during, after = (int(line) for line in printed.split())
    assert during - before == pytest.approx(2**28, rel=0.05)
    assert after - before == pytest.approx(2**28, rel=0.05), "a peak stays"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_matrix_products_have_a_rate(dtype):
    assert matrix_product(dtype, side=64)() > 0
