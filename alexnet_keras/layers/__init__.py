"""AlexNet's own Keras layers, one a file. Importing this package registers them with Keras."""

from alexnet_keras.layers.across_towers import AcrossTowers
from alexnet_keras.layers.color_noise import ColorNoise
from alexnet_keras.layers.each_tower import EachTower
from alexnet_keras.layers.local_response_normalization import LocalResponseNormalization
from alexnet_keras.layers.locally_connected_2d import LocallyConnected2D
from alexnet_keras.layers.mean_subtraction import MeanSubtraction
from alexnet_keras.layers.plain_dropout import PlainDropout
from alexnet_keras.layers.spatial_response_normalization import SpatialResponseNormalization
from alexnet_keras.layers.tower_conv2d import TowerConv2D
from alexnet_keras.layers.tower_dense import TowerDense

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
