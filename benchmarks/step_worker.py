"""Times training, inference or ten-crop evaluation of one framework in a process of its own; prints seconds a step
and peak memory as JSON.

    python benchmarks/step_worker.py WORKER {train|infer|ten-crop} {float32|bfloat16}

WORKER: alexnet_keras (this project), stock-keras (Keras's and TensorFlow's own layers), torch, torch-channels-last,
torch-compile, jax; in inference onnxruntime and openvino, which run the exported model.

Every worker does the same. In training and inference: batch 128 of uint8 crops already in memory, mean subtraction,
net 145 with 1000 classes, and in training cross-entropy, gradients, and momentum with coupled weight decay. In
ten-crop evaluation: 64 uint8 images of 256x256 in memory, to the mean of the softmax outputs of their ten crops.
"""

import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

BATCH, WARM_UP, STEPS, SECONDS = 128, 1, 6, 6.0  # at least so many steps, and so many seconds of them
IMAGES = 64  # of a ten-crop step
CORNERS = ((0, 0), (0, 32), (16, 16), (32, 0), (32, 32))
CROPS_AT_A_TIME = 120  # twelve images, about a batch, as `alexnet eval` does
MEAN = (127.3049, 119.7154, 104.9126)
THREADS = int(os.environ.get("BENCHMARK_THREADS", os.cpu_count() or 1))


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 (128, 224, 224, 3) and labels int64."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (BATCH, 224, 224, 3), np.uint8), random.integers(0, 1000, BATCH)


def full_images() -> np.ndarray:
    """Random images uint8 (64, 256, 256, 3)."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 256, 256, 3), np.uint8)


def keras_step(mode: str, precision: str) -> Callable[[], float]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from alexnet_keras import AlexNet
    from alexnet_keras.training.optimizer import AlexNetSGD
    from alexnet_keras.training.step import TrainingStep

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    # without training, weights need no more digits than the arithmetic
    half = "mixed_bfloat16" if mode == "train" else "bfloat16"
    model = AlexNet(seed=0, dtype=half if precision == "bfloat16" else "float32")
    if mode == "ten-crop":
        from alexnet_keras.evaluation.predictor import Predictor

        predictor, squares = Predictor(model, "ten-crop"), full_images()
        size = predictor.images_at_a_time
        parts = [squares[start : start + size] for start in range(0, IMAGES, size)]
        return lambda: float(np.concatenate([predictor(part) for part in parts])[0, 0])
    images, labels = (tf.constant(array) for array in batch())
    if mode == "infer":
        predict = tf.function(lambda x: model(x, training=False), autograph=False)
        return lambda: float(predict(images)[0, 0])
    optimizer = AlexNetSGD(0.01, 0.02, layers=("conv1",))
    optimizer.build(model.trainable_variables)
    step = TrainingStep(model, optimizer, tf.distribute.get_strategy(), seed=0, batch_size=BATCH)
    return lambda: step(images, labels, 0).loss


def stock_keras_step(mode: str, precision: str) -> Callable[[], float]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf
    from stock_keras import alexnet

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = alexnet(MEAN)
    images, labels = (tf.constant(array) for array in batch())
    if mode == "train":
        return lambda: float(model.train_on_batch(images, labels))
    if mode == "infer":
        return lambda: float(model.predict_on_batch(images)[0, 0])
    raise SystemExit("stock-keras has no ten-crop evaluation")


def torch_step(mode: str, precision: str, channels_last: bool, compiled: bool) -> Callable[[], float]:
    import torch
    from torch_alexnet import alexnet

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    half = compiled and mode != "train" and precision == "bfloat16"  # the network itself: faster than by autocast
    dtype = torch.bfloat16 if half else torch.float32
    net = alexnet(sliced=compiled).to(dtype=dtype, memory_format=layout)
    net.train(mode == "train")
    images, labels = (torch.from_numpy(array) for array in batch())
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    mean = torch.tensor(MEAN).reshape(1, 3, 1, 1)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16" and not half)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=0.0005, fused=compiled)

    def logits(crops):
        return net((crops.float() - mean).to(dtype))

    def loss_of(crops, labels):
        return torch.nn.functional.cross_entropy(logits(crops), labels)

    if compiled:
        torch._inductor.config.freezing = mode != "train"  # weights laid out once
        logits, loss_of = torch.compile(logits), torch.compile(loss_of)

    squares = torch.from_numpy(full_images()).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def ten_crop() -> float:
        answers = []
        with torch.no_grad(), autocast:
            for part in squares.split(CROPS_AT_A_TIME // 10):
                corners = [part[:, :, y : y + 224, x : x + 224] for y, x in CORNERS]
                crops = torch.cat(corners + [crop.flip(3) for crop in corners])
                scores = logits(crops.contiguous(memory_format=layout))
                answers.append(scores.float().softmax(1).view(10, -1, 1000).mean(0))
        return float(torch.cat(answers)[0, 0])

    def infer() -> float:
        with torch.no_grad(), autocast:
            return float(logits(images)[0, 0])

    def train() -> float:
        optimizer.zero_grad()
        with autocast:
            loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    return {"train": train, "infer": infer, "ten-crop": ten_crop}[mode]


def exported_model(folder: str) -> str:
    """The ONNX file of the network, written by a process of its own, so that TensorFlow is not in this one's memory."""
    path = f"{folder}/alexnet.onnx"
    subprocess.run([sys.executable, str(Path(__file__).with_name("onnx_alexnet.py")), path], check=True)
    return path


def whole_images() -> np.ndarray:
    """Images uint8 (128, 256, 256, 3), of which the exported model cuts the batch's crops."""
    return np.pad(batch()[0], ((0, 0), (16, 16), (16, 16), (0, 0)))


def onnxruntime_step(mode: str, precision: str) -> Callable[[], float]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_free_dimension_override_by_name("batch", BATCH)
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(exported_model(folder), options, providers=["CPUExecutionProvider"])
    images = whole_images()
    return lambda: float(session.run(["probabilities"], {"images": images})[0][0, 0])


def openvino_step(mode: str, precision: str) -> Callable[[], float]:
    import openvino

    images = whole_images()
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],  # by itself it takes bfloat16
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
    }
    with tempfile.TemporaryDirectory() as folder:
        model = core.read_model(exported_model(folder))
        model.reshape(images.shape)
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: float(request.infer([images], share_inputs=True, share_outputs=True)[0][0, 0])


def jax_step(mode: str, precision: str) -> Callable[[], float]:
    os.environ["NPROC"] = str(THREADS)  # the threads of XLA's pool
    import jax
    from jax_alexnet import initial_weights, logits, training_step

    images, labels = (jax.device_put(array) for array in batch())
    key = jax.random.key(0)
    weights = initial_weights(key)
    if mode == "infer":
        predict = jax.jit(lambda weights, images: logits(weights, images, MEAN, precision))
        return lambda: float(predict(weights, images)[0, 0])
    state = [weights, jax.tree.map(lambda array: 0 * array, weights)]
    step = training_step(MEAN, precision)
    numbers = itertools.count()

    def train() -> float:
        *state[:], loss = step(*state, images, labels, jax.random.fold_in(key, next(numbers)))
        return float(loss)

    return train


STEP_OF = {
    "alexnet_keras": keras_step,
    "stock-keras": stock_keras_step,
    "torch": partial(torch_step, channels_last=False, compiled=False),
    "torch-channels-last": partial(torch_step, channels_last=True, compiled=False),
    "torch-compile": partial(torch_step, channels_last=True, compiled=True),
    "onnxruntime": onnxruntime_step,
    "openvino": openvino_step,
    "jax": jax_step,
}


def main() -> None:
    who, mode, precision = sys.argv[1:]
    step = STEP_OF[who](mode, precision)
    for _ in range(WARM_UP):
        answer = step()
    seconds: list[float] = []
    while len(seconds) < STEPS or sum(seconds) < SECONDS:
        start = time.perf_counter()
        answer = step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mib": peak, "answer": answer}) + "\n")


if __name__ == "__main__":
    main()
