"""Net 145 written out in PyTorch, as a PyTorch user would: grouped convolutions, and torch's own LRN or one of slices.

The same network as the recipe `source`, except that both towers are one tensor with groups=2: LRN windows then
cross the tower boundary (four maps of each layer), which changes no cost.
"""

import torch
from torch import nn


def inverse_power(x):
    """x^-0.75 of roots, for which there are instructions: compiled, several times as fast as a general power."""
    root = x.rsqrt()
    return root * root.sqrt()


class SlicedLRN(nn.Module):
    """`nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)` of elementwise operations, which inductor fuses."""

    def forward(self, x):
        squares = nn.functional.pad(x * x, (0, 0, 0, 0, 2, 2))
        window = sum(squares[:, start : start + x.shape[1]] for start in range(5))
        return x * inverse_power(2.0 + 1e-4 / 5 * window)


class SpatialNorm(nn.Module):
    """Net 145's normalisation over a 5x5 neighbourhood of the same map; with the power of roots, or a general one."""

    def __init__(self, roots: bool = False) -> None:
        super().__init__()
        self.roots = roots

    def forward(self, x):
        # average_pool2d divides by size^2, as scale / size^2 does
        divisor = 1.0 + 0.001 * nn.functional.avg_pool2d(x * x, 5, stride=1, padding=2)
        return x * (inverse_power(divisor) if self.roots else divisor.pow(-0.75))


class PlainDropout(nn.Module):
    """The paper's dropout: a mask in training, half the output otherwise."""

    def forward(self, x):
        return x * (torch.rand_like(x) >= 0.5) if self.training else x * 0.5


def alexnet(classes: int = 1000, sliced: bool = False) -> nn.Sequential:
    """From mean-subtracted crops `(batch, 3, 224, 224)` to logits `(batch, classes)`; source's initial weights.

    `sliced` takes `SlicedLRN` in place of torch's own, and powers of roots.
    """

    def lrn():
        return SlicedLRN() if sliced else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)

    net = nn.Sequential(
        nn.ZeroPad2d((0, 3, 0, 3)),
        nn.Conv2d(3, 96, 11, stride=4),
        lrn(),
        nn.MaxPool2d(3, 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(96, 256, 5, padding=2, groups=2),
        nn.ReLU(inplace=True),
        lrn(),
        SpatialNorm(roots=sliced),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1, groups=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1, groups=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.ReLU(inplace=True),
        PlainDropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        PlainDropout(),
        nn.Linear(4096, classes),
    )
    layers = [layer for layer in net if isinstance(layer, nn.Conv2d | nn.Linear)]
    stds = (0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01)
    biases = (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    for layer, std, bias in zip(layers, stds, biases, strict=True):
        nn.init.normal_(layer.weight, 0.0, std)
        nn.init.constant_(layer.bias, bias)
    return net
