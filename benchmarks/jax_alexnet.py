"""Net 145 in JAX alone, as a JAX user would write it: convolutions of `jax.lax` in NHWC, compiled whole by XLA.

The same network as the recipe `source`, except that both towers are one tensor: LRN windows then cross the tower
boundary (four maps of each layer), which changes no cost. LRN is a sum of slices, which XLA fuses.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# (kernel's side, maps in each group, maps, groups, standard deviation, bias) and (inputs, units, deviation, bias)
CONVOLUTIONS = (
    (11, 3, 96, 1, 0.01, 0.0),
    (5, 48, 256, 2, 0.01, 1.0),
    (3, 256, 384, 1, 0.03, 0.0),
    (3, 192, 384, 2, 0.03, 1.0),
    (3, 192, 256, 2, 0.03, 1.0),
)
DENSE = ((9216, 4096, 0.01, 1.0), (4096, 4096, 0.01, 1.0), (4096, 1000, 0.01, 0.0))
RATE, MOMENTUM, DECAY = 0.01, 0.9, 0.0005


def initial_weights(key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
    """Kernel and bias of each layer: HWIO of convolutions, `(inputs, units)` of dense layers."""
    shapes = [((side, side, into, maps), std, bias) for side, into, maps, _, std, bias in CONVOLUTIONS]
    shapes += [((inputs, units), std, bias) for inputs, units, std, bias in DENSE]
    keys = jax.random.split(key, len(shapes))
    return [
        (std * jax.random.normal(each, shape), jnp.full(shape[-1:], bias))
        for each, (shape, std, bias) in zip(keys, shapes, strict=True)
    ]


def logits(weights: list, images: jax.Array, mean: tuple, dtype: str, key: jax.Array | None = None) -> jax.Array:
    """From uint8 crops `(batch, 224, 224, 3)` to logits `(batch, 1000)`, float32; with a key also dropout."""
    weights = jax.tree.map(lambda array: array.astype(dtype), weights)
    x = (images.astype(jnp.float32) - jnp.array(mean)).astype(dtype)
    x = _pooled(_lrn(_convolved(x, weights, 0, stride=4, padding=(0, 3))))
    x = jax.nn.relu(x)
    x = jax.nn.relu(_convolved(x, weights, 1, padding=(2, 2)))
    x = _pooled(_spatial(_lrn(x)))
    for index in (2, 3, 4):
        x = jax.nn.relu(_convolved(x, weights, index, padding=(1, 1)))
    x = _pooled(x).reshape(len(images), -1)
    for kernel, bias in weights[5:7]:
        x = jax.nn.relu(x @ kernel + bias)
        if key is None:
            x = x * 0.5
        else:
            key, own = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(own, shape=x.shape), x, 0)
    kernel, bias = weights[7]
    return (x @ kernel + bias).astype(jnp.float32)


def training_step(mean: tuple, dtype: str) -> Callable:
    """A compiled step: (weights, velocities, images, labels, key) to new weights and velocities, and the loss."""

    def loss_of(weights: list, images: jax.Array, labels: jax.Array, key: jax.Array) -> jax.Array:
        scores = jax.nn.log_softmax(logits(weights, images, mean, dtype, key))
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    def step(weights: list, velocities: list, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple:
        loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels, key)
        velocities = jax.tree.map(lambda v, g, w: MOMENTUM * v + g + DECAY * w, velocities, gradients, weights)
        return jax.tree.map(lambda w, v: w - RATE * v, weights, velocities), velocities, loss

    return jax.jit(step, donate_argnums=(0, 1))


def _convolved(x: jax.Array, weights: list, index: int, *, padding: tuple, stride: int = 1) -> jax.Array:
    """A convolution; that of two groups as two, which XLA computes faster on a processor."""
    kernel, bias = weights[index]
    groups = CONVOLUTIONS[index][3]
    parts = [
        lax.conv_general_dilated(
            own, part, (stride, stride), (padding, padding), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for own, part in zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    ]
    return jnp.concatenate(parts, -1) + bias


def _pooled(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def _lrn(x: jax.Array) -> jax.Array:
    """Local response normalisation over 5 maps."""
    squares = jnp.pad(x * x, ((0, 0), (0, 0), (0, 0), (2, 2)))
    window = sum(squares[..., start : start + x.shape[-1]] for start in range(5))
    return x * _power(2 + 2e-5 * window)


def _spatial(x: jax.Array) -> jax.Array:
    """Net 145's normalisation over a 5x5 neighbourhood of the same map; zeros count as neighbours at the border."""
    height, width = x.shape[1:3]
    squares = jnp.pad(x * x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    rows = sum(squares[:, start : start + height] for start in range(5))
    window = sum(rows[:, :, start : start + width] for start in range(5))
    return x * _power(1 + 0.001 / 25 * window)


def _power(x: jax.Array) -> jax.Array:
    """x^-0.75."""
    root = lax.rsqrt(x)
    return root * jnp.sqrt(root)
