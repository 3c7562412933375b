"""AlexNet's own Keras layers. Importing this package registers them with Keras."""

from alexnet_keras.layers.dropout import PlainDropout
from alexnet_keras.layers.locally_connected import LocallyConnected2D
from alexnet_keras.layers.mean_and_color_noise import ColorNoise, MeanSubtraction
from alexnet_keras.layers.normalization import LocalResponseNormalization, SpatialResponseNormalization
from alexnet_keras.layers.towers import AcrossTowers, EachTower, TowerConv2D, TowerDense

__all__ = [
    "AcrossTowers",
    "ColorNoise",
    "EachTower",
    "LocalResponseNormalization",
    "LocallyConnected2D",
    "MeanSubtraction",
    "PlainDropout",
    "SpatialResponseNormalization",
    "TowerConv2D",
    "TowerDense",
]
