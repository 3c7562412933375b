"""This project's model and optimizer under Keras's JAX backend next to PyTorch, on whatever accelerator there is.

    pip install -r benchmarks/requirements.txt            # on a machine with NVIDIA's: pip install "jax[cuda13]" torch
    python benchmarks/accelerator_speed.py
    python benchmarks/accelerator_speed.py --mode train --batch 128 --precision bfloat16 --rounds 5
    python benchmarks/accelerator_speed.py --batch 16 --steps 2 --rounds 1      # a processor can do that, too

Each program has a process, which makes its network, takes a few steps that are not timed, and then does so many steps
in every round, in turn with the others; the clock stops when the device has done them all. Images, uint8 in the
device's memory, lose their mean inside the step. In float32 products are in TF32 where the device has it. PyTorch is
measured as it is (channels last, a fused optimizer, cuDNN's own search for algorithms), with LRN as slices in place of
`nn.LocalResponseNorm`, and so compiled by `torch.compile`; a program that fails has its reason in its row.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context

import numpy as np
from step_worker import MEAN
from tables import rate_table, ratio_line

OURS = "alexnet_keras"
RATE = 0.0  # every step does the same work
WARM_UP = 5  # steps; compilers record graphs of the device's work in the second and third


def batch_of(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 (size, 224, 224, 3) and labels int32."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (size, 224, 224, 3), np.uint8), random.integers(0, 1000, size, np.int32)


def keras_on_jax(mode: str, precision: str, size: int) -> tuple[str, Callable[[int], float]]:
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Keras imports it where it is installed
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the others need memory, too
    import jax
    import jax.numpy as jnp

    from alexnet_keras import AlexNet
    from alexnet_keras.training.optimizer import AlexNetSGD

    jax.config.update("jax_default_matmul_precision", "tensorfloat32")
    dtype = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    model = AlexNet(seed=0, dtype=dtype, classifier_activation=None)
    optimizer = AlexNetSGD(RATE, RATE, layers=("conv1",))
    optimizer.build(model.trainable_variables)
    images, labels = map(jax.device_put, batch_of(size))

    def values(variables: list) -> list:
        return [jnp.copy(variable.value) for variable in variables]

    def loss_of(weights: list, others: list) -> tuple:
        logits, others = model.stateless_call(weights, others, images, training=True)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
        return losses.mean(), others

    @partial(jax.jit, donate_argnums=0)
    def train(state: tuple) -> tuple:
        weights, others, slots = state
        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, others)
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return (weights, others, slots), loss

    @jax.jit
    def infer(state: tuple) -> tuple:
        return model.stateless_call(*state[:2], images, training=False)[0]

    state = tuple(map(values, (model.trainable_variables, model.non_trainable_variables, optimizer.variables)))

    def run(steps: int) -> float:
        nonlocal state
        for _ in range(steps):
            if mode == "train":
                state, answer = train(state)
            else:
                answer = infer(state)
        return float(jax.block_until_ready((answer, state))[0].ravel()[0])

    return jax.devices()[0].device_kind, run


def pytorch(mode: str, precision: str, size: int, sliced: bool, compile_mode: str = "") -> tuple[str, Callable]:
    import torch
    from torch_alexnet import alexnet

    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    net = alexnet(sliced=sliced).to(device, memory_format=torch.channels_last).train(mode == "train")
    images, labels = (torch.from_numpy(array).to(device) for array in batch_of(size))
    images, labels = images.permute(0, 3, 1, 2), labels.long()  # channels last, as they lie in memory
    mean = torch.tensor(MEAN, device=device).reshape(1, 3, 1, 1)
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=0.9, weight_decay=0.0005, fused=True)

    def logits(images):
        return net(images.float() - mean)

    def loss_of(images, labels):
        return torch.nn.functional.cross_entropy(logits(images), labels)

    if compile_mode:
        torch._dynamo.reset()
        logits, loss_of = (torch.compile(function, mode=compile_mode) for function in (logits, loss_of))

    def run(steps: int) -> float:
        for _ in range(steps):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                if mode == "infer":
                    with torch.no_grad():
                        answer = logits(images)
                    continue
                optimizer.zero_grad()
                answer = loss_of(images, labels)
            answer.backward()
            optimizer.step()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        return float(answer.detach().flatten()[0])

    return name, run


def make(build: Callable, *what) -> str:
    """In a program's process: makes the network in place of the one before, and returns the device's name."""
    global run
    run = None
    name, run = build(*what)
    run(WARM_UP)
    return name


def seconds_of(steps: int) -> float:
    """In a program's process."""
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start


def compare(programs: dict, processes: dict, mode: str, precision: str, size: int, steps: int, rounds: int) -> str:
    """One comparison as Markdown."""
    devices, failures, rates = {}, {}, {}
    for name, build in programs.items():
        try:
            devices[name] = processes[name].submit(make, build, mode, precision, size).result()
            rates[name] = []
        except Exception as error:  # a compiler's, or that of a process that has died
            failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    for number in range(rounds):
        for name, found in rates.items():
            found.append(steps * size / processes[name].submit(seconds_of, steps).result())
        print(f"round {number + 1}: {', '.join(f'{n} {r[-1]:,.0f}' for n, r in rates.items())}", file=sys.stderr)  # noqa: T201
    lines = [
        f"{mode}, {precision}, batch {size}, {', '.join(sorted(set(devices.values())))}, {platform.machine()}, "
        f"{rounds} interleaved rounds of {steps} steps",
        "",
        *rate_table(rates, "program"),
        *(f"- {name} failed: {reason}" for name, reason in failures.items()),
    ]
    others = [name for name in rates if name != OURS]
    if OURS in rates and others:
        best = list(map(max, zip(*(rates[name] for name in others), strict=True)))
        lines += [f"- {ratio_line(name, rates[OURS], rates[name])}" for name in others]
        lines.append(f"- {ratio_line('the strongest', rates[OURS], best)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    parser.add_argument("--precision", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--batch", nargs="+", type=int, default=[128, 512], help="[default: 128 512]")
    parser.add_argument("--steps", type=int, default=30, help="steps of each program in a round [default: 30]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    parser.add_argument(
        "--compile-mode",
        default="reduce-overhead",
        help="of torch.compile [default: reduce-overhead; max-autotune compiles for minutes]",
    )
    options = parser.parse_args()
    programs = {
        OURS: keras_on_jax,
        "torch": partial(pytorch, sliced=False),
        "torch-sliced-lrn": partial(pytorch, sliced=True),
        "torch-compile": partial(pytorch, sliced=True, compile_mode=options.compile_mode),
    }
    processes = {name: ProcessPoolExecutor(1, get_context("spawn")) for name in programs}
    print(", ".join(f"{name} {version(name)}" for name in ("keras", "jax", "torch")), end="\n\n")  # noqa: T201
    for mode in options.mode:
        for size in options.batch:
            for precision in options.precision:
                table = compare(programs, processes, mode, precision, size, options.steps, options.rounds)
                print(table, flush=True)  # noqa: T201
    for process in processes.values():
        process.shutdown()


if __name__ == "__main__":
    main()
