"""Times training, inference or ten-crop evaluation of one framework in a process of its own; prints seconds a step
and peak memory as JSON.

    python benchmarks/step_worker.py WORKER {train|infer|ten-crop} {float32|bfloat16}

WORKER: alexnet_keras (this project), stock-keras (Keras's and TensorFlow's own layers), torch, torch-channels-last.

Every worker does the same. In training and inference: batch 128 of uint8 crops already in memory, mean subtraction,
net 145 with 1000 classes, and in training cross-entropy, gradients, and momentum with coupled weight decay. In
ten-crop evaluation: 64 uint8 images of 256x256 in memory, to the mean of the softmax outputs of their ten crops.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

BATCH, WARM_UP, STEPS = 128, 1, 4
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
    model = AlexNet(seed=0, dtype="mixed_bfloat16" if precision == "bfloat16" else "float32")
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


def torch_step(mode: str, precision: str, channels_last: bool) -> Callable[[], float]:
    import torch
    from torch_alexnet import alexnet

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = alexnet().to(memory_format=layout)
    images, labels = (torch.from_numpy(array) for array in batch())
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    mean = torch.tensor(MEAN).reshape(1, 3, 1, 1)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=0.0005)

    squares = torch.from_numpy(full_images()).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def ten_crop() -> float:
        answers = []
        with torch.inference_mode(), autocast:
            for part in squares.split(CROPS_AT_A_TIME // 10):
                corners = [part[:, :, y : y + 224, x : x + 224] for y, x in CORNERS]
                crops = torch.cat(corners + [crop.flip(3) for crop in corners])
                crops = crops.contiguous(memory_format=layout).float() - mean
                answers.append(net(crops).float().softmax(1).view(10, -1, 1000).mean(0))
        return float(torch.cat(answers)[0, 0])

    def infer() -> float:
        with torch.inference_mode(), autocast:
            return float(net(images.float() - mean)[0, 0])

    def train() -> float:
        optimizer.zero_grad()
        with autocast:
            loss = nn_loss(net(images.float() - mean), labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    nn_loss = torch.nn.functional.cross_entropy
    net.train(mode == "train")
    return {"train": train, "infer": infer, "ten-crop": ten_crop}[mode]


def main() -> None:
    who, mode, precision = sys.argv[1:]
    if who == "alexnet_keras":
        step = keras_step(mode, precision)
    elif who == "stock-keras":
        step = stock_keras_step(mode, precision)
    else:
        step = torch_step(mode, precision, channels_last=who == "torch-channels-last")
    seconds = []
    for index in range(WARM_UP + STEPS):
        start = time.perf_counter()
        step()
        if index >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mib": peak}) + "\n")


if __name__ == "__main__":
    main()
