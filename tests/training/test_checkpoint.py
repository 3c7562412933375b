"""States of a small model: what is in the file, what is refused, and which one is read."""

import errno
import io
import threading
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from recorded import Recorded

from alexnet_keras.errors import DataError
from alexnet_keras.layers import TowerDense
from alexnet_keras.recipes.toml import load_recipe, to_dict, with_overrides
from alexnet_keras.storage import files
from alexnet_keras.storage.files import Disk
from alexnet_keras.training import checkpoint
from alexnet_keras.training.checkpoint import (
    Position,
    State,
    check_same,
    newest_state,
    read_state,
    save_state,
    saved_states,
    shapes_of,
    state_variables,
)
from alexnet_keras.training.optimizer import AlexNetSGD

HISTORY = [{"epoch": 1, "loss": 1.25}]
POSITION = Position(1, 2, 7, 3.5, 1.25, 60.0, (1024.0, 5), True, HISTORY)
ABOUT = {"recipe": {"name": "x"}, "seed": 3}


def network():
    entry = keras.Input((4,))
    (output,) = TowerDense(2, towers=1, reads="all", name="fc8")(TowerDense(3, name="fc7")(entry))
    return keras.Model(entry, output)


@pytest.fixture(scope="module")
def trained():
    """A model, its optimizer after a step, and an average; tests only read them."""
    model, average = network(), network()
    optimizer = AlexNetSGD(0.1)
    optimizer.apply([tf.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    return model, optimizer, average


@pytest.fixture(scope="module")
def shapes(trained):
    return shapes_of(state_variables(*trained))


def saved(folder, trained, step=7, epochs=1, about=ABOUT, disk=None):
    position = Position(1, 2, step, 3.5, 1.25, 60.0, (1024.0, 5), True, HISTORY * epochs)
    return save_state(folder, trained[0], trained[1], position, about, trained[2], disk)


def test_a_position_starts_at_nothing():
    assert Position() == Position(0, 0, 0, 0.0, 0.0, 0.0, None, False, [])


def test_a_state_comes_back_with_every_weight_velocity_and_average(trained, shapes, tmp_path):
    path = saved(tmp_path, trained)
    assert path.name == "step-000000007-00001.npz"
    state = read_state(path, shapes)
    model, optimizer, average = trained
    assert len(state.arrays) == 6 * 3
    for index, variable in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(state.arrays[variable.path], variable.numpy())
        np.testing.assert_array_equal(state.arrays[f"{variable.path}/velocity"], optimizer.velocities[index].numpy())
        mean = average.trainable_variables[index].numpy()
        np.testing.assert_array_equal(state.arrays[f"{variable.path}/average"], mean)
    assert state.position == Position(1, 2, 7, 3.5, 1.25, 60.0, [1024.0, 5], True, HISTORY)
    assert (state.about, state.path) == (ABOUT, path)


def test_without_an_average_there_is_none_in_the_state(trained):
    model, optimizer, _ = trained
    assert len(state_variables(model, optimizer)) == 6 * 2


def test_three_states_are_kept_and_the_newest_by_step_and_epoch_is_read(trained, shapes, tmp_path):
    assert newest_state(tmp_path, shapes) is None
    for step, epochs in ((1, 0), (2, 0), (10, 1), (10, 2)):
        saved(tmp_path, trained, step, epochs)
    names = [path.name for path in saved_states(tmp_path)]
    assert names == ["step-000000010-00002.npz", "step-000000010-00001.npz", "step-000000002-00000.npz"]
    assert len(newest_state(tmp_path, shapes).position.history) == 2


def test_the_disk_takes_a_state_while_training_goes_on_and_before_the_next(trained, shapes, tmp_path, monkeypatch):
    taken, flushed = threading.Event(), []
    monkeypatch.setattr(files, "flush", lambda path: taken.wait(60) and flushed.append(path.name))
    disk = Disk()
    first = saved(tmp_path, trained, 1, disk=disk)
    assert read_state(first, shapes).position.total_steps == 1 and not flushed
    threading.Timer(0.2, taken.set).start()
    second = saved(tmp_path, trained, 2, disk=disk)
    assert first.name in flushed
    disk.wait()
    assert flushed == [first.name, second.name]


def test_a_state_that_the_disk_does_not_take_is_reported_and_removed(trained, tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    disk = Disk()
    kept = saved(tmp_path, trained, 1, disk=disk)
    disk.wait()
    monkeypatch.setattr(files, "flush", full)
    saved(tmp_path, trained, 2, disk=disk)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, trained, 3, disk=disk)
    assert saved_states(tmp_path) == [kept]
    disk.wait()  # it was reported once


def test_a_damaged_state_is_reported_with_the_one_that_is_read_instead(trained, shapes, tmp_path):
    reporter = Recorded()
    for step in (1, 2, 3):
        saved(tmp_path, trained, step)
    newest, middle, oldest = saved_states(tmp_path)
    for path in (newest, middle):
        path.write_bytes(b"PK")
    assert newest_state(tmp_path, shapes, reporter).path == oldest
    assert [sentence.rpartition(" ")[2] for sentence in reporter.warnings] == [f"{middle.name}.", f"{oldest.name}."]
    oldest.write_bytes(b"PK")
    with pytest.raises(DataError, match=f"{oldest.name} is damaged"):
        newest_state(tmp_path, shapes, reporter)
    assert len(reporter.warnings) == 4, "after the last there is nothing to resume from"


def test_damaged_states_make_way_for_those_of_the_training_that_goes_on(trained, shapes, tmp_path):
    """Else they would count among the last three, and push out the states before the newest."""
    for step in (1, 2, 3):
        saved(tmp_path, trained, step * 10)
    for path in saved_states(tmp_path)[:2]:
        path.write_bytes(b"PK")
    assert newest_state(tmp_path, shapes, Recorded()).position.total_steps == 10
    for step in (11, 12):
        saved(tmp_path, trained, step)
    assert [read_state(path, shapes).position.total_steps for path in saved_states(tmp_path)] == [12, 11, 10]


def rewritten(path, name, array, version=(1, 0)):
    """The state with another array in the place of one of its own."""
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    members[f"{name}.npy"] = file.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


KERNEL = "fc7/kernel_a"  # (4, 3)


@pytest.mark.parametrize(
    ("array", "version"),
    [
        (np.zeros((4, 3), np.float32), (2, 0)),
        (np.zeros((3, 4), np.float32), (1, 0)),
        (np.zeros((4, 3), np.float64), (1, 0)),
        (np.zeros((4, 3), np.uint8), (1, 0)),
        (np.asfortranarray(np.zeros((4, 3), np.float32)), (1, 0)),
    ],
    ids=["version", "shape", "float64", "uint8", "order"],
)
def test_an_array_that_is_not_what_the_network_has_is_refused(trained, shapes, tmp_path, array, version):
    path = rewritten(saved(tmp_path, trained), KERNEL, array, version)
    with pytest.raises(DataError, match=f"{KERNEL} "):
        read_state(path, shapes)


@pytest.mark.parametrize("cut", [1, 4, 24])
def test_an_array_that_ends_early_is_refused(trained, shapes, tmp_path, cut):
    path = saved(tmp_path, trained)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content[:-cut] if member == f"{KERNEL}.npy" else content)
    with pytest.raises(DataError, match="damaged"):
        read_state(path, shapes)


def test_a_position_that_is_too_long_is_damage(trained, shapes, tmp_path, monkeypatch):
    path = saved(tmp_path, trained)
    with np.load(path) as state:
        length = len(state["position"])
    monkeypatch.setattr(checkpoint, "MOST_JSON", length + 1)
    assert read_state(path, shapes).about == ABOUT
    monkeypatch.setattr(checkpoint, "MOST_JSON", length)
    with pytest.raises(DataError, match="position has shape"):
        read_state(path, shapes)


def test_a_position_may_have_64_mib_and_is_bytes():
    assert checkpoint.MOST_JSON == 67_108_864
    assert checkpoint.KEEP == 3


def test_a_position_of_numbers_is_refused(trained, shapes, tmp_path):
    path = rewritten(saved(tmp_path, trained), "position", np.zeros(4, np.float32))
    with pytest.raises(DataError, match="position has shape"):
        read_state(path, shapes)


def test_the_reason_of_a_missing_array_has_no_quotes_around_it(trained, shapes, tmp_path):
    with pytest.raises(DataError, match=r"another network: There is no item named 'fc9.npy' in the archive."):
        read_state(saved(tmp_path, trained), {**shapes, "fc9": (1,)})


def state_of(**about):
    return State(None, {}, Position(), about)


def test_what_differs_is_named_and_what_is_the_same_is_not():
    recipe = load_recipe("source")
    other = with_overrides(recipe, ["training.momentum=0.5"])
    state = state_of(recipe=to_dict(recipe), classes=["a", "b"], seed=3)
    check_same(state, {"recipe": to_dict(recipe), "classes": ["a", "b"], "seed": 3})
    with pytest.raises(DataError) as error:
        check_same(state, {"recipe": to_dict(other), "classes": ["a"], "seed": 4, "data": "x"})
    assert str(error.value).partition("another run's: ")[2] == (
        "training.momentum is 0.9 there and 0.5 here; its 2 classes are not those of the data; "
        "seed is 3 there and 4 here; data is None there and x here."
    )
    with pytest.raises(DataError, match="its 0 classes are not those"):
        check_same(state_of(), {"classes": ["a"]})


def test_a_layer_that_one_side_lacks_is_called_missing():
    recipe = to_dict(load_recipe("source"))
    fewer = {**recipe, "network": {**recipe["network"], "dense": recipe["network"]["dense"][:1]}}
    with pytest.raises(DataError, match=r"network\.fc7\.units is 2048 there and missing here"):
        check_same(state_of(recipe=recipe), {"recipe": fewer})
    with pytest.raises(DataError, match=r"network\.fc7\.units is missing there and 2048 here"):
        check_same(state_of(recipe=fewer), {"recipe": recipe})
