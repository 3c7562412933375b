"""Writes the network that the benchmarks measure (recipe `source`, 1000 classes) as `alexnet export --to onnx` does.

python benchmarks/onnx_alexnet.py FILE
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from alexnet_keras import AlexNet, load_recipe
from alexnet_keras.evaluation.image_inputs import Preparation
from alexnet_keras.interop.exported import ExportedNetwork
from alexnet_keras.interop.onnx import write_onnx

if __name__ == "__main__":
    names = [f"class {label}" for label in range(1000)]
    model = AlexNet(seed=0, dtype="float32")
    network = ExportedNetwork(model, model, load_recipe("source"), names, names, Preparation(), {})
    write_onnx(network, Path(sys.argv[1]))
