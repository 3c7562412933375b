"""The sizes that follow from a recipe: of maps, of what neurons read, and of the arithmetic for one image.

A multiply-add is two operations. Only convolutions and matrix products count: what else a network does (normalisation,
pooling, the update of the weights) takes time and is no part of the count."""

from alexnet_keras.recipes.schema import CLASSIFIER, Convolution, Network, Recipe


def side_of(conv: Convolution, side: int) -> int:
    """Return the side, in pixels, of the maps of a convolution, from that of the maps it reads."""
    return (side + sum(conv.padding) - conv.kernel) // conv.stride + 1


def side_after(conv: Convolution, side: int, net: Network) -> int:
    """Return the side, in pixels, of the maps after a convolution and its pooling, from that of the maps it reads."""
    side = side_of(conv, side)
    for _ in range(conv.followed_by.count("pool")):
        side = (side - net.pool_size) // net.pool_stride + 1
    return side


def fan_ins(net: Network) -> dict[str, int]:
    """Return the number of inputs of each layer's neurons, by layer: those of its own tower, or of all."""
    fans, side, maps = {}, net.input_size, 3
    for index, conv in enumerate(net.convolutions):
        read = maps * (net.towers if conv.reads == "all" and index else 1)
        fans[conv.name] = conv.kernel**2 * read
        side, maps = side_after(conv, side, net), conv.filters
    units = side**2 * maps
    for dense in net.dense:
        fans[dense.name] = units * (net.towers if dense.reads == "all" else 1)
        units = dense.units
    return {**fans, CLASSIFIER: units * net.towers}


def operations(recipe: Recipe, classes: int, *, training: bool) -> int:
    """Count the floating-point operations for one image.

    Args:
        recipe: The recipe.
        classes: The number of classes.
        training: Of a training step, else of the forward pass. The gradients of weights and of inputs take as many
            operations as the forward pass each; that of the image is not computed.
    """
    net, passes, total = recipe.network, 3 if training else 1, 0
    fans, side = fan_ins(net), net.input_size
    for index, conv in enumerate(net.convolutions):
        neurons = side_of(conv, side) ** 2 * conv.filters * net.towers
        total += (passes - (training and index == 0)) * neurons * fans[conv.name]
        side = side_after(conv, side, net)
    for dense in net.dense:
        total += passes * dense.units * net.towers * fans[dense.name]
    return 2 * (total + passes * classes * fans[CLASSIFIER])
