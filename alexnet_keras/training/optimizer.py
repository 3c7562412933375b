"""The paper's update rule as a Keras optimizer."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from alexnet_keras.backend import Tensor, on_tensorflow
from alexnet_keras.training.schedule import BIASES


@keras.saving.register_keras_serializable(package="alexnet_keras")
class AlexNetSGD(keras.optimizers.Optimizer):
    """Momentum with the weight decay inside the velocity, and rates of their own for biases and named layers.

        v = momentum v - decay rate w - rate gradient
        w = w + v

    `keras.optimizers.SGD(weight_decay=...)` is another rule: it decays w outside the velocity, about ten times
    more weakly at momentum 0.9.

    Args:
        learning_rate: rate of the weights. Paper and net 145: 0.01 at the start.
        bias_learning_rate: rate of the biases. Net 145: 0.02; None takes `learning_rate` at the start.
        momentum: paper and net 145: 0.9.
        decay: decay of the weights. Paper and net 145: 0.0005.
        bias_decay: decay of the biases. Paper: as the weights; net 145: 0.
        layers: what else has a rate of its own: a layer's weights by its name (`"conv1"`), a layer's biases by its
            name and `_biases` (`"fc8_biases"`).
        layer_decays: decay of a layer's weights by its name, where it is not `decay`.

    Rates are variables: `set_rates({"weights": 0.001, "conv1": 0.0})` changes them between steps without tracing
    anything anew.

    Reference: paper, section 5; net 145: momW, momB, wc, epsW, epsB.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        bias_learning_rate: float | None = None,
        momentum: float = 0.9,
        decay: float = 0.0005,
        bias_decay: float = 0.0,
        layers: Sequence[str] = (),
        layer_decays: Mapping[str, float] | None = None,
        name: str = "alexnet_sgd",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.bias_learning_rate = learning_rate if bias_learning_rate is None else bias_learning_rate
        self.momentum, self.decay, self.bias_decay = momentum, decay, bias_decay
        self.layers, self.layer_decays = tuple(layers), dict(layer_decays or {})
        starts = {"biases": self.bias_learning_rate}
        for kind in self.layers:
            starts[kind] = self.bias_learning_rate if kind.endswith(BIASES) else learning_rate
        self._rates = {"weights": self._learning_rate}
        for kind, start in starts.items():
            rate = self.add_variable((), keras.initializers.Constant(start), name=f"{kind}_learning_rate")
            self._rates[kind] = rate
        self._proceed = None
        self.kinds: list[str] = []
        self.decays: list[float] = []

    @property
    def rates(self) -> dict[str, float]:
        """The current rate of every kind: weights, biases, and what `layers` names."""
        return {kind: float(ops.convert_to_numpy(rate)) for kind, rate in self._rates.items()}

    def set_rates(self, rates: dict[str, float]) -> None:
        """Changes rates by kind; a kind the optimizer does not have is a KeyError."""
        for kind, rate in rates.items():
            self._rates[kind].assign(rate)

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.kinds = [self._kind_of(variable) for variable in variables]
        self.decays = [self._decay_of(variable) for variable in variables]
        self.velocities = [self._velocity_of(variable) for variable in variables]

    def _kind_of(self, variable: keras.Variable) -> str:
        *layer, name = variable.path.split("/")
        if name.startswith("bias"):
            return next((kind for part in layer if (kind := part + BIASES) in self.layers), "biases")
        return next((part for part in layer if part in self.layers), "weights")

    def _decay_of(self, variable: keras.Variable) -> float:
        *layer, name = variable.path.split("/")
        if name.startswith("bias"):
            return self.bias_decay
        return next((self.layer_decays[part] for part in layer if part in self.layer_decays), self.decay)

    def _velocity_of(self, variable: keras.Variable) -> keras.Variable:
        """A slot on the variable's own device: left to itself Keras puts every slot on the first."""
        device = getattr(variable.value, "device", "")
        if not isinstance(device, str) or not device:
            return self.add_variable_from_reference(variable, name="velocity")
        with keras.device(device):
            return self.add_variable_from_reference(variable, name="velocity")

    @contextmanager
    def only_if(self, proceed: Tensor) -> Iterator[None]:
        """Updates made in this scope, while a graph is traced, change nothing where the scalar `proceed` is False."""
        self._proceed = proceed
        try:
            yield
        finally:
            self._proceed = None

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        index = self._get_variable_index(variable)
        kind, decay, velocity = self.kinds[index], self.decays[index], self.velocities[index]
        rate = ops.convert_to_tensor(self._rates[kind])
        if gradient.dtype != variable.dtype:  # a cast that changes nothing would still take it to the first device
            gradient = ops.cast(gradient, variable.dtype)
        if on_tensorflow():
            _update_in_place(variable, velocity.value, gradient, rate, self.momentum, decay, self._proceed)
        else:
            self.assign(velocity, self.momentum * velocity - rate * (gradient + decay * variable))
            self.assign_add(variable, velocity)

    def _all_reduce_sum_gradients(
        self, grads_and_vars: Iterable[tuple[Tensor, keras.Variable]]
    ) -> list[tuple[Tensor, keras.Variable]]:
        """Keras's, but where there is nothing to add up: it would take every tower's gradients to the first device."""
        import tensorflow as tf

        if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
            return list(grads_and_vars)
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for unused in ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum"):
            config.pop(unused, None)
        for unused in ("ema_overwrite_frequency", "gradient_accumulation_steps"):
            config.pop(unused, None)
        return {
            **config,
            "bias_learning_rate": self.bias_learning_rate,
            "momentum": self.momentum,
            "decay": self.decay,
            "bias_decay": self.bias_decay,
            "layers": list(self.layers),
            "layer_decays": self.layer_decays,
        }


def _update_in_place(
    variable: keras.Variable,
    velocity: Tensor,
    gradient: Tensor,
    rate: Tensor,
    momentum: float,
    decay: float,
    proceed: Tensor | None,
) -> None:
    """v = momentum v - decay rate w - rate gradient; w = w + v, with nothing in between in memory, if `proceed`.

    The condition is one operation on the variable's own device: `tf.cond` would take a tower's gradient through the
    first device.
    """
    import tensorflow as tf

    update, nothing = _updates(momentum, decay, variable.dtype)
    if proceed is None:
        update(variable.handle, velocity.handle, gradient, rate)
        return
    with tf.device(variable.device):
        tf.raw_ops.If(
            cond=proceed,
            input=[variable.handle, velocity.handle, gradient, rate],
            Tout=[],
            then_branch=update,
            else_branch=nothing,
        )


@functools.cache
def _updates(momentum: float, decay: float, dtype: str) -> list[Callable]:
    """Two functions of (variable's handle, velocity's handle, gradient, rate): one updates, one does nothing."""
    import tensorflow as tf

    def update(variable: Tensor, velocity: Tensor, gradient: Tensor, rate: Tensor) -> None:
        if decay and momentum:  # it goes into v first, divided by the momentum that v is about to be multiplied with
            weights = tf.raw_ops.ReadVariableOp(resource=variable, dtype=dtype)
            tf.raw_ops.ResourceApplyGradientDescent(var=velocity, alpha=rate * (decay / momentum), delta=weights)
        elif decay:
            gradient = gradient + decay * tf.raw_ops.ReadVariableOp(resource=variable, dtype=dtype)
        constant = tf.constant(momentum, dtype)
        tf.raw_ops.ResourceApplyKerasMomentum(var=variable, accum=velocity, lr=rate, grad=gradient, momentum=constant)

    resource = tf.TensorSpec([], tf.resource)
    signature = [resource, resource, tf.TensorSpec(None, dtype), tf.TensorSpec([], dtype)]
    functions = (update, lambda *inputs: None)
    return [tf.function(each, signature, autograph=False).get_concrete_function() for each in functions]
