"""What a terminal shows of a training: its rows, and the time left of the whole run."""

import re
import signal

import pytest
from rich.console import Console
from toy_runs import new_run, trainer

from alexnet_keras.cli import progress
from alexnet_keras.cli.progress import ConsoleReporter
from alexnet_keras.cli.terminal import result
from alexnet_keras.recipes.toml import load_recipe, with_overrides
from alexnet_keras.training.checkpoint import Position
from alexnet_keras.training.step import StepResult

STEPS, EPOCHS = 10, 4
STEP, COMPILING, VALIDATING = 2.0, 30.0, 7.0  # seconds
ROW = dict.fromkeys(("loss", "val_loss", "val_top1_error", "val_top5_error", "images_per_second", "rate_weights"), 0.5)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only `clock.now += ...` moves."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def report_epoch(reporter, clock, epoch, first_step=0, compiling=0.0):
    reporter.on_epoch_begin(epoch, first_step, STEPS, {"weights": 0.01})
    for step in range(first_step, STEPS):
        clock.now += STEP + compiling * (step == first_step)
        reporter.on_step(epoch, step, StepResult(1.0, 0.5, True, False))
    clock.now += VALIDATING
    reporter.on_epoch_end({**ROW, "epoch": epoch}, [])


@pytest.mark.parametrize("first_step", [0, 5, 8, 9])
def test_the_time_left_of_a_resumed_run_is_that_of_its_steps_and_validations(clock, capsys, monkeypatch, first_step):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", STEP)
    recipe = with_overrides(load_recipe("source"), [f"training.epochs={EPOCHS}", "training.batch_size=8"])
    reporter = ConsoleReporter()
    reporter.on_train_begin(recipe, 5, Position(epoch=1, step=first_step, total_steps=STEPS + first_step))
    report_epoch(reporter, clock, 1, first_step, compiling=COMPILING)
    for epoch in range(2, EPOCHS):
        report_epoch(reporter, clock, epoch)
    lines = capsys.readouterr().err.splitlines()
    rows = {line.split()[0]: line.split()[-1] for line in lines if re.match(r" +\d/4 ", line)}
    known = {"3/4": "0:00:27", "4/4": "0:00:00"}  # 10 steps and a validation; nothing
    assert rows == {"2/4": "-:--:--" if first_step == 9 else "0:00:54", **known}
    if first_step == 5:  # without the time of the compiler
        assert "epoch 2/4: 64 of 80 images, 4/s run 0:00:44  loss 1.0000  error 50.0%  rates 0.01" in lines
    assert "epoch 4/4: 72 of 80 images, 4/s run 0:00:09  loss 1.0000  error 50.0%  rates 0.01" in lines


@pytest.mark.parametrize("last", [(0, 4), (1, 4)], ids=["first epoch", "last epoch"])
def test_a_run_stopped_before_a_validation_goes_on_with_it(prepared, tiny, tmp_path, capsys, last):
    class Stopping(ConsoleReporter):
        def on_step(self, epoch, step, result):
            super().on_step(epoch, step, result)
            if (epoch, step) == last:
                signal.raise_signal(signal.SIGINT)

    run = new_run(tmp_path / "run", tiny)
    with pytest.raises(KeyboardInterrupt):
        trainer(run, prepared, reporter=Stopping()).fit()
    capsys.readouterr()
    history = trainer(run, prepared, reporter=ConsoleReporter()).fit(resume=True)
    lines = capsys.readouterr().err.splitlines()
    assert f"Resuming after 5 steps of epoch {last[0] + 1} (step {5 * last[0] + 5})." in lines
    assert len(history) == 2
    assert [line.split()[0] for line in lines if re.match(r" +\d/2 ", line)] == ["1/2", "2/2"][last[0] :]


def test_results_go_into_a_file_also_while_a_terminal_shows_a_bar(capsys):
    """As in `alexnet predict photos --json > answers.jsonl`: only stderr is the terminal."""
    with progress._bar(Console(stderr=True, force_terminal=True), "predicting", 2, "images", 0) as advance:
        advance(1)
        result('{"file": "a.jpg"}', fit=False)
    shown = capsys.readouterr()
    assert shown.out == '{"file": "a.jpg"}\n' and "a.jpg" not in shown.err
