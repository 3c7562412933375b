"""Results that are kept: made once from named inputs, and made again when the inputs differ or the file is damaged."""

import numpy as np

from alexnet_keras.storage.kept import kept_arrays, kept_json


def test_arrays_are_kept_until_what_they_are_made_from_changes_or_they_are_damaged(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"numbers": np.arange(1000)}

    path = tmp_path / "stage.npz"
    for settings in ({"a": (1, 2)}, {"a": (1, 2)}, {"a": (1, 3)}):
        np.testing.assert_array_equal(kept_arrays(path, settings, make)["numbers"], np.arange(1000))
    assert len(made) == 2
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), bytes(content[:500]), b""):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(kept_arrays(path, {"a": (1, 3)}, make)["numbers"], np.arange(1000))
    assert len(made) == 5


def test_a_value_is_kept_whatever_json_makes_of_its_inputs(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"error": 0.25}

    for inputs in ({"sides": (256, 128)}, {"sides": (256, 128)}, {"sides": (256, 64)}):
        assert kept_json(tmp_path / "part.json", inputs, make) == {"error": 0.25}
    assert len(made) == 2
