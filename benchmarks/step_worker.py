"""Times training steps or inference of one framework in a process of its own; prints seconds a step as JSON.

    python benchmarks/step_worker.py {alexnet_keras|torch|torch-channels-last} {train|infer} {float32|bfloat16}

Every worker does the same: batch 128 of uint8 images already in memory, mean subtraction, net 145 with 1000
classes, cross-entropy, gradients, and momentum with coupled weight decay, on two threads.
"""

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

BATCH, WARM_UP, STEPS = 128, 1, 4
THREADS = int(os.environ.get("BENCHMARK_THREADS", os.cpu_count() or 1))


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 (128, 224, 224, 3) and labels int64."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (BATCH, 224, 224, 3), np.uint8), random.integers(0, 1000, BATCH)


def keras_step(mode: str, precision: str) -> Callable[[], float]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from alexnet_keras import AlexNet
    from alexnet_keras.training.optimizer import AlexNetSGD
    from alexnet_keras.training.step import TrainingStep

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    model = AlexNet(seed=0, dtype="mixed_bfloat16" if precision == "bfloat16" else "float32")
    images, labels = (tf.constant(array) for array in batch())
    if mode == "infer":
        predict = tf.function(lambda x: model(x, training=False), autograph=False)
        return lambda: float(predict(images)[0, 0])
    optimizer = AlexNetSGD(0.01, 0.02, layers=("conv1",))
    optimizer.build(model.trainable_variables)
    step = TrainingStep(model, optimizer, tf.distribute.get_strategy(), seed=0, batch_size=BATCH)
    return lambda: step(images, labels, 0).loss


def torch_step(mode: str, precision: str, channels_last: bool) -> Callable[[], float]:
    import torch
    from torch_alexnet import alexnet

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = alexnet().to(memory_format=layout)
    images, labels = (torch.from_numpy(array) for array in batch())
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    mean = torch.tensor([127.3049, 119.7154, 104.9126]).reshape(1, 3, 1, 1)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=0.0005)

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
    return train if mode == "train" else infer


def main() -> None:
    who, mode, precision = sys.argv[1:]
    if who == "alexnet_keras":
        step = keras_step(mode, precision)
    else:
        step = torch_step(mode, precision, channels_last=who == "torch-channels-last")
    seconds = []
    for index in range(WARM_UP + STEPS):
        start = time.perf_counter()
        step()
        if index >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    sys.stdout.write(json.dumps(seconds) + "\n")


if __name__ == "__main__":
    main()
