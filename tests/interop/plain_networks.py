"""Caffe's and torchvision's networks a second time, in NumPy and as those frameworks lay arrays down.

Nothing of the package is used: kernels are (out, in, height, width), maps (maps, height, width), groups are groups.
"""

import numpy as np

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
DENSE = ("fc6", "fc7", "fc8")


def random_arrays(filters, dense, groups=2, seed=0, colors=3, bias=0.1):
    """{layer: (kernel, bias)} of a network with so many filters and neurons; signals keep their size on the way."""
    random = np.random.default_rng(seed)
    grouped = {"conv2", "conv4", "conv5"} if groups > 1 else set()
    sides = dict(zip(CONVOLUTIONS, (11, 5, 3, 3, 3), strict=True))
    arrays, maps = {}, colors
    for name, count in zip(CONVOLUTIONS, filters, strict=True):
        shape = (count, maps // (groups if name in grouped else 1), sides[name], sides[name])
        arrays[name] = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape), random.normal(0, bias, count)
        maps = count
    inputs = maps * 36
    for name, units in zip(DENSE, dense, strict=True):
        arrays[name] = random.normal(0, (2 / inputs) ** 0.5, (units, inputs)), random.normal(0, bias, units)
        inputs = units
    return {name: tuple(array.astype(np.float32) for array in pair) for name, pair in arrays.items()}


def caffe_logits(arrays, crop, mean, pool_first=False):
    """Logits of an RGB crop (side, side, 3), 0..255, as Caffe's deploy.prototxt has the network.

    Args:
        mean: (3, side, side) or (3, 1, 1), B, G, R.
        pool_first: CaffeNet's order, pool before norm.
    """
    x = crop.astype(np.float64).transpose(2, 0, 1)[::-1] - mean
    for name, stride, padding, groups in zip(
        CONVOLUTIONS, (4, 1, 1, 1, 1), (0, 2, 1, 1, 1), (1, 2, 1, 2, 2), strict=True
    ):
        x = np.maximum(convolve(x, *arrays[name], stride, padding, groups), 0)
        if name in ("conv1", "conv2"):
            x = normalize(pool(x)) if pool_first else pool(normalize(x))
        if name == "conv5":
            x = pool(x)
    return _classify(x, arrays)


def torchvision_logits(arrays, crop):
    """Logits of an RGB crop (224, 224, 3), 0..255, as torchvision's alexnet computes them in evaluation."""
    x = crop.astype(np.float64).transpose(2, 0, 1) / 255
    mean, std = (np.array(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (x - mean) / std
    for name, stride, padding in zip(CONVOLUTIONS, (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), strict=True):
        x = np.maximum(convolve(x, *arrays[name], stride, padding), 0)
        if name in ("conv1", "conv2", "conv5"):
            x = pool(x)
    return _classify(x, arrays)


def convolve(x, kernel, bias, stride, padding, groups=1):
    """(maps, height, width) to (out, height, width)."""
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    parts = zip(np.split(windows, groups), np.split(kernel.astype(np.float64), groups), strict=True)
    out = np.concatenate([np.tensordot(own, part, ((1, 2, 3), (0, 3, 4))) for part, own in parts])
    return out + bias[:, None, None]


def normalize(x, size=5, alpha=1e-4, beta=0.75):
    """Caffe's LRN across channels, k = 1: over all maps, whatever the groups."""
    squares = np.pad(x**2, [(size // 2, size // 2), (0, 0), (0, 0)])
    sums = sum(squares[start : start + len(x)] for start in range(size))
    return x / (1 + alpha / size * sums) ** beta


def pool(x, size=3, stride=2):
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return windows.max(axis=(3, 4))


def _classify(x, arrays):
    x = x.ravel()
    for name in DENSE:
        kernel, bias = arrays[name]
        x = kernel.astype(np.float64) @ x + bias
        x = np.maximum(x, 0) if name != "fc8" else x
    return x
