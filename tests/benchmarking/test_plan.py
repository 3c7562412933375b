"""What a training will take: arithmetic from fixed measurements, and a short measurement at toy size."""

import json

import pytest

from alexnet_keras.benchmarking import measure
from alexnet_keras.benchmarking import plan as planning
from alexnet_keras.benchmarking.plan import IMAGENET, Survey, Workload, plan, survey
from alexnet_keras.benchmarking.result import Measurement, Repeat
from alexnet_keras.machine import this_machine
from alexnet_keras.recipes.geometry import operations
from alexnet_keras.recipes.toml import load_recipe

SOURCE, TORCHVISION = load_recipe("source"), load_recipe("torchvision")


def measured(*images_a_second, device="CPU", peak=None, base=None):
    repeats = tuple(Repeat(1000, 1000 / rate) for rate in images_a_second)
    return Measurement("steps", device, repeats, peak_bytes=peak, base_bytes=base)


def surveyed(workload=IMAGENET, prepare=(1000,), read=(2000,), train=(100,), device="CPU"):
    return Survey(
        this_machine(),
        workload,
        measured(*prepare) if prepare else None,
        measured(*read, peak=900, base=700),
        {("source", "float32"): measured(*train, device=device, peak=3000, base=500)},
        seconds=60.0,
    )


def test_imagenet_takes_these_hours_bytes_and_days():
    made = plan(surveyed(), [SOURCE], ["float32"])
    assert made.prepare_hours.median == pytest.approx(1_331_167 / 1000 / 3600)
    assert made.jpeg_bytes == 1_331_167 * 39_000, "52 GB"
    assert made.raw_bytes == 1_331_167 * (196_608 + 100), "262 GB"
    assert made.cache_bytes == 1_281_167 * 196_608, "252 GB"
    (training,) = made.training
    assert (training.epochs, training.batch_size, training.steps) == (91, 128, 10_010)
    step = 1 / 100 + 1 / 2000  # the processors do both
    assert training.step_seconds.median == pytest.approx(128 * step)
    seconds = 10_010 * 128 * step + 50_000 * (1 / 300 + 1 / 2000)
    assert training.days.median == pytest.approx(91 * seconds / 86_400)
    assert training.days.median == pytest.approx(14.4, abs=0.1)
    assert training.bound == "compute" and training.input_share == pytest.approx(1 / 21)
    assert training.memory_bytes == 3000 + 900 - 700 and training.measured


def test_beside_a_gpu_the_slower_of_input_and_compute_decides():
    fast, slow = (plan(surveyed(read=(rate,), device="A GPU"), [SOURCE], ["float32"]) for rate in (200, 50))
    assert fast.training[0].bound == "compute" and fast.training[0].step_seconds.median == pytest.approx(1.28)
    assert slow.training[0].bound == "input" and slow.training[0].step_seconds.median == pytest.approx(128 / 50)


def test_ranges_are_those_of_the_repeats():
    made = plan(surveyed(prepare=(500, 1000, 2000), train=(50, 100, 200), read=(1e9,)), [SOURCE], ["float32"])
    hours, days = made.prepare_hours, made.training[0].days
    assert hours.median / hours.least == pytest.approx(2) and hours.most / hours.median == pytest.approx(2)
    assert days.median / days.least == pytest.approx(2, rel=1e-4) == days.most / days.median


def test_what_was_not_measured_is_scaled_by_operations_and_says_so():
    first, other = plan(surveyed(read=(1e9,)), [SOURCE, TORCHVISION], ["float32"]).training
    ratio = operations(TORCHVISION, 1000, training=True) / operations(SOURCE, 1000, training=True)
    assert other.step_seconds.median / first.step_seconds.median == pytest.approx(2 * ratio), "256 images a step"
    assert first.measured and not other.measured and other.memory_bytes is None
    assert (other.epochs, other.batch_size, other.steps) == (90, 256, 5005)


def test_a_prepared_dataset_has_nothing_to_prepare_and_few_images_are_one_batch():
    few = Workload("data/few", {"train": 40, "val": 8}, 3, jpeg_bytes=20_000.0, prepared=True)
    made = plan(surveyed(few, prepare=None), [SOURCE], ["float32"])
    assert made.prepare_hours is None and made.jpeg_bytes == 48 * 20_000
    assert (made.training[0].batch_size, made.training[0].steps) == (40, 1)


def test_a_preparation_is_timed_from_its_first_images_on(monkeypatch):
    times = iter((1.0, 1.5, 4.0, 9.0))
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = measure.PreparationClock()
    with clock.progress("preparing", 2048) as advance:
        for images in (64, 64, 1920):
            advance(images)
    assert clock.repeat(5.0) == Repeat(1984, 3.0)
    few = measure.PreparationClock()
    with few.progress("preparing", 48) as advance:
        advance(48)
    assert few.repeat(5.0) == Repeat(48, 5.0)


@pytest.mark.slow
def test_steps_are_measured_with_the_batches_that_training_takes(prepared, monkeypatch):
    asked = []

    def measure(name, request, advance):
        asked.append((name, request.batch_size))
        return measured(100, peak=3000, base=500)

    monkeypatch.setattr(planning, "measure", measure)
    survey([SOURCE], ["float32"], data=prepared)
    assert asked == [("input", prepared.examples("train")), ("train", prepared.examples("train"))]


def test_a_source_is_prepared_read_and_trained_on(images, tiny):
    found = survey([tiny], ["float32"], source=str(images), repeats=1)
    assert found.workload.images == {"train": 36, "val": 12} and found.workload.classes == 3
    assert 5_000 < found.workload.jpeg_bytes < 200_000
    assert found.prepare.repeats[0].images == 48 and found.seconds > 0
    assert not found.training["source", "float32"].shares, "steps alone"
    made = json.loads(json.dumps(plan(found, [tiny], ["float32"]).to_dict()))
    assert made["training"][0]["steps"] == 5 and made["training"][0]["days"]["median"] > 0
    assert made["survey"]["training"][0]["recipe"] == "source" and "GTX 580" in made["paper"]
