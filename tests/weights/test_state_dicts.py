"""Checkpoints: the network is found in whatever is around it, that is said, and nothing else is read or run."""

import numpy as np
import pytest
from plain_networks import random_arrays
from small_networks import DENSE, FILTERS, small
from written_files import Opcodes, View, state_names, text, whole, write_legacy_pth, write_pth, write_safetensors

from alexnet_keras.errors import DataError
from alexnet_keras.weights.formats import FORMATS

ARRAYS = random_arrays(FILTERS["torchvision"], DENSE, groups=1)
STATES = state_names(ARRAYS)
OTHER = {name: array + 1 for name, array in STATES.items()}
OPTIMISER = {"state": [{"step": np.ones(1, np.int64), "momentum_buffer": np.ones((3, 5))}], "param_groups": [1, 2]}
SCALAR = Opcodes(b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n" + text("f8") + b"\x85R" + text("12345678") + b"tR")
# an object of a class: made by NEWOBJ, with a state that has the class once more
OPTIONS = Opcodes(b"ctrainer.options\nOptions\n)\x81}(" + text("kind") + b"ctrainer.options\nKind\nub")
FLOAT8 = Opcodes(
    b"ctorch._utils\n_rebuild_tensor_v3\n(("
    + text("storage") + b"ctorch.storage\nUntypedStorage\n" + text("a") + text("cpu") + whole(10) + b"tQ"
    + whole(0) + whole(10) + b"\x85" + whole(1) + b"\x85\x89ccollections\nOrderedDict\n)Rctorch\nfloat8_e4m3fn\ntR"
)  # fmt: skip
CONJUGATE = View(np.ones(10, np.float32), 0, (10,), (1,), b"}" + text("conj") + b"\x88s")
COMMAND = Opcodes(b"cposix\nsystem\n" + text("touch was-run") + b"\x85R")


def prefixed(prefix, states=STATES):
    return {prefix + name: array for name, array in states.items()}


def without(beginning, states=STATES):
    return {name: array for name, array in states.items() if not name.startswith(beginning)}


def read(path, kind="torchvision"):
    return FORMATS[kind].weights(path, small("torchvision"))


def assert_read(weights, dtype=np.float32):
    for name, pair in ARRAYS.items():
        for found, array in zip(weights[name], pair, strict=True):
            np.testing.assert_array_equal(found, array.astype(dtype).astype(np.float32))


PARALLEL = {name.replace("features.", "features.module."): array for name, array in STATES.items()}
IMAGENET = {"epoch": 90, "arch": "alexnet", "state_dict": PARALLEL, "best_acc1": SCALAR, "optimizer": OPTIMISER}


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (STATES, []),
        (IMAGENET, ["from 'state_dict' of a.pth, with 'module.' left out"]),
        (prefixed("module."), ["from a.pth, with 'module.' left out"]),
        (prefixed("model."), ["'model.' left out"]),
        (prefixed("any.thing."), ["'any.thing.' left out"]),
        ({"model": prefixed("_orig_mod."), "scaler": {"scale": 2}}, ["from 'model' of a.pth, with '_orig_mod.'"]),
        ({"model": prefixed("module._orig_mod.")}, ["'module._orig_mod.' left out"]),
        ({"model_state_dict": STATES, "optimizer_state_dict": OPTIMISER}, ["from 'model_state_dict'"]),
        ([{"network": {"weights": STATES}}, OPTIMISER], ["from '0.network.weights'"]),
        ({"state_dict": prefixed("net."), "hyper_parameters": OPTIONS, "callbacks": {"a": OPTIONS}}, ["'net.' left"]),
        (
            {"state_dict": {**prefixed("net."), "loss.weight": np.ones(3)}},
            ["'net.' left", "1 other array there is not"],
        ),
        ({"state_dict": {**prefixed("module."), "n_averaged": np.ones(1, np.int64)}}, ["1 other array"]),
        ({"state_dict": STATES, "best": STATES}, ["from 'state_dict'"]),
        ({"epoch": 3, **STATES}, []),
        ({"losses": [Opcodes(b"G?\xf0\0\0\0\0\0\0") for _ in range(500_000)], "model": STATES}, ["from 'model'"]),
        ({1: {2: STATES}}, ["from '1.2'"]),
        ({"model": Opcodes(b"ccollections\ndefaultdict\n)R"), "b": STATES}, ["from 'b'"]),
        ([np.ones(3, "i1"), np.ones(3, "<c8"), {"model": STATES}], ["from '2.model'"]),
        ({"weights": STATES, "extra": COMMAND}, ["from 'weights'"]),
        ({**without("classifier.6"), "fc.weight": ARRAYS["fc8"][0], "fc.bias": ARRAYS["fc8"][1]}, ["'fc.weight' and"]),
    ],
)
@pytest.mark.parametrize("write", [write_pth, write_legacy_pth])
def test_the_network_in_a_checkpoint_is_read_and_it_is_said_where(write, saved, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights, notes = read(write(tmp_path / "a.pth", saved))
    assert_read(weights)
    assert len(notes) == bool(said) and all(words in notes[0] for words in said)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (
            {"state_dict": STATES, "state_dict_ema": OTHER},
            "holds 2 networks that fit, 'state_dict' and 'state_dict_ema'",
        ),
        (
            {"a": {**prefixed("net."), **prefixed("ema.", OTHER)}},
            "2 networks that fit, 'a' without 'net.' and 'a' with",
        ),
        (
            [STATES, OTHER, {**STATES, "features.0.bias": np.ones(8)}],
            "3 networks that fit, '0' and '1' and others: save",
        ),
        ({**STATES, **prefixed("ema.", OTHER)}, "2 networks that fit, the file itself and 'ema.'"),
        ({"state_dict": without("features.3")}, "lacks the arrays 'features.3.weight', 'features.3.bias', which"),
        ({"state_dict": {**STATES, "features.20.bias": np.ones(3)}}, "has the array 'features.20.bias', which"),
        (prefixed("module.", {**STATES, "features.20.bias": np.ones(3)}), "has the array 'features.20.bias', which"),
        ({"state_dict": {**STATES, "features.6.bias": np.ones(9)}}, "features.6.bias is 9 and"),
        (
            {"state_dict": {**STATES, "features.6.bias": np.ones(10, np.int64)}},
            "are in a LongStorage, which is none of",
        ),
        ({"state_dict": {**STATES, "features.6.bias": FLOAT8}}, "are in a torch.float8_e4m3fn, which is none of float"),
        (
            {"state_dict": {**STATES, "features.6.bias": CONJUGATE}},
            "describes a tensor in a form that is not known here",
        ),
        ({**PARALLEL, **STATES, "features.module.0.weight": OTHER["features.0.weight"]}, "'features.module.0.weight'"),
        ({**STATES, **PARALLEL, "features.module.0.weight": OTHER["features.0.weight"]}, "'features.module.0.weight'"),
        ({"state_dict": {**STATES, "features.6.bias": COMMAND}}, "asks for posix.system, which weights have no need"),
        ({**without("classifier.6"), "fc.weight": np.ones((7, 3)), "fc.bias": np.ones(7)}, "lacks the arrays 'classif"),
        ({"encoder.weight": np.ones((3, 3)), "o": OPTIMISER}, "lacks the arrays 'features.0.weight'"),
        ({"epoch": 3}, "holds no state dict"),
        ({"epoch": OPTIONS}, "asks for trainer.options.Options"),
        (
            {"model": Opcodes(b"cnets\nAlexNet\n)\x81}" + text("_modules") + b"}sb"), "optimizer": OPTIMISER},
            "it is a pickled nets.AlexNet: save its state_dict() instead",
        ),
    ],
)
@pytest.mark.parametrize("write", [write_pth, write_legacy_pth])
def test_a_checkpoint_with_none_or_two_is_refused(write, saved, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        read(write(tmp_path / "a.pth", saved))
    assert said in str(caught.value) and not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("write", [write_pth, write_legacy_pth])
def test_a_file_whose_logs_are_too_long_to_be_read_says_so(write, tmp_path):
    path = write(tmp_path / "a.pth", {"losses": Opcodes(b"](" + b"N" * 2**24 + b"e"), "model": STATES})
    with pytest.raises(
        DataError, match=r"takes more than 16,777,216 bytes beside its tensors: save its state_dict\(\)"
    ):
        read(path)


@pytest.mark.parametrize("write", [write_pth, write_legacy_pth])
def test_a_view_with_pytorchs_negative_bit_is_read_with_its_sign(write, tmp_path):
    name = "features.0.bias"
    negative = View(-STATES[name], 0, STATES[name].shape, (1,), b"}" + text("neg") + b"\x88s")
    assert_read(read(write(tmp_path / "a.pth", {**STATES, name: negative}))[0])


@pytest.mark.parametrize("write", [write_pth, write_legacy_pth])
def test_a_network_that_was_pickled_whole_in_the_legacy_form_is_named(write, tmp_path):
    reference = b"(" + text("module") + b"cnets\nAlexNet\n" + text("nets.py") + text("class AlexNet: ...") + b"tQ"
    path = write(tmp_path / "a.pth", Opcodes(reference + b")\x81}" + text("_modules") + b"}sb"))
    with pytest.raises(DataError, match=r"it is a pickled nets\.AlexNet"):
        read(path)


@pytest.mark.parametrize("write", [write_pth, write_legacy_pth])
@pytest.mark.parametrize("dtype", ["<f8", "<f2", "bfloat16"])
def test_other_numbers_and_parts_of_a_storage_are_read(write, dtype, tmp_path):
    """As PyTorch saves half networks; flat buffers; weights with the inputs first; and the first rows of a layer."""
    if dtype == "bfloat16":
        halves = {name: (array.view("<u4") >> 16).astype("<u2") for name, array in STATES.items()}
        weights, _ = read(write(tmp_path / "a.pth", halves))
        found = weights["conv1"][0]
        np.testing.assert_array_equal(found.view("<u4"), ARRAYS["conv1"][0].view("<u4") & 0xFFFF0000)
        return
    states = {name: array.astype(dtype) for name, array in STATES.items()}
    flat = np.concatenate(
        [np.zeros(5, dtype), states["features.0.bias"], states["features.3.bias"], np.zeros(9, dtype)]
    )
    states["features.0.bias"] = View(flat, 5, (8,), (1,))
    states["features.3.bias"] = View(flat, 13, (12,), (1,))
    turned = np.ascontiguousarray(states["classifier.4.weight"].T)
    states["classifier.4.weight"] = View(turned, 0, turned.shape[::-1], (1, len(turned.T)))
    more = np.concatenate([states["classifier.6.weight"], np.ones((30, DENSE[1]), dtype)])
    states["classifier.6.weight"] = View(more, 0, (DENSE[2], DENSE[1]), (DENSE[1], 1))
    assert_read(read(write(tmp_path / "a.pth", states))[0], dtype)


def test_a_storage_beyond_all_need_is_not_read(tmp_path):
    large = np.zeros(400_000, np.float32)
    with pytest.raises(DataError, match="bytes that the network can need"):
        read(write_pth(tmp_path / "a.pth", {**STATES, "features.0.bias": View(large, 0, (8,), (1,))}))


def test_names_without_number_take_no_memory(tmp_path):
    many = b"".join(b"cany\nname%d\n0" % index for index in range(2000))
    with pytest.raises(DataError, match="more than 1,000 names"):
        read(write_pth(tmp_path / "a.pth", STATES, b"\x80\x02" + many + b"N."))
    with pytest.raises(DataError, match=r"asks for any.name \[31m, which"):
        read(write_pth(tmp_path / "b.pth", STATES, b"\x80\x02cany\nname \x1b[31m\n)R" + whole(1) + b"0."))


@pytest.mark.parametrize("prefix", ["module.", "model._orig_mod."])
def test_names_in_safetensors_may_have_the_same_wrappers(prefix, tmp_path):
    weights, notes = read(write_safetensors(tmp_path / "a.safetensors", prefixed(prefix)), "safetensors")
    assert_read(weights)
    assert f"'{prefix}' left out" in notes[0]
    two = write_safetensors(tmp_path / "b.safetensors", {**STATES, **prefixed(prefix, OTHER)})
    with pytest.raises(DataError, match="2 networks that fit"):
        read(two, "safetensors")


def test_safetensors_of_bfloat16_are_read(tmp_path):
    import json
    import struct

    content = write_safetensors(tmp_path / "a", {n: (a.view("<u4") >> 16).view("<f4") for n, a in STATES.items()})
    raw = content.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header, numbers, halves = json.loads(raw[8 : 8 + length]), raw[8 + length :], b""
    for name, entry in header.items():
        if name != "__metadata__":
            start, stop = entry["data_offsets"]
            half = np.frombuffer(numbers[start:stop], "<u4").astype("<u2").tobytes()
            entry |= {"dtype": "BF16", "data_offsets": [len(halves), len(halves) + len(half)]}
            halves += half
    told = json.dumps(header).encode()
    (tmp_path / "b").write_bytes(struct.pack("<Q", len(told)) + told + halves)
    found = read(tmp_path / "b", "safetensors")[0]["fc6"][0]
    np.testing.assert_array_equal(found.view("<u4"), ARRAYS["fc6"][0].view("<u4") & 0xFFFF0000)
