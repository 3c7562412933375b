"""The paper's update rule as a Keras optimizer."""

import keras
from keras import ops


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
        layers: names of layers whose weights have a rate of their own, such as `("conv1",)`.

    Rates are variables: `set_rates({"weights": 0.001, "conv1": 0.0})` changes them between steps without tracing
    anything anew.

    Reference: paper, section 5; net 145: momW, momB, wc, epsW, epsB.
    """

    def __init__(
        self,
        learning_rate=0.01,
        bias_learning_rate=None,
        momentum=0.9,
        decay=0.0005,
        bias_decay=0.0,
        layers=(),
        name="alexnet_sgd",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.bias_learning_rate = learning_rate if bias_learning_rate is None else bias_learning_rate
        self.momentum, self.decay, self.bias_decay = momentum, decay, bias_decay
        self.layers = tuple(layers)
        starts = {"biases": self.bias_learning_rate, **dict.fromkeys(self.layers, learning_rate)}
        self._rates = {"weights": self._learning_rate}
        for kind, start in starts.items():
            rate = self.add_variable((), keras.initializers.Constant(start), name=f"{kind}_learning_rate")
            self._rates[kind] = rate
        self.kinds: list[str] = []

    @property
    def rates(self) -> dict[str, float]:
        """The current rate of every kind: weights, biases and the named layers' weights."""
        return {kind: float(ops.convert_to_numpy(rate)) for kind, rate in self._rates.items()}

    def set_rates(self, rates: dict[str, float]) -> None:
        """Changes rates by kind; a kind the optimizer does not have is a KeyError."""
        for kind, rate in rates.items():
            self._rates[kind].assign(rate)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.kinds = [self._kind_of(variable) for variable in variables]
        self.velocities = [self._velocity_of(variable) for variable in variables]

    def _kind_of(self, variable) -> str:
        *layer, name = variable.path.split("/")
        if name.startswith("bias"):
            return "biases"
        return next((part for part in layer if part in self.layers), "weights")

    def _velocity_of(self, variable):
        """A slot on the variable's own device: left to itself Keras puts every slot on the first."""
        device = getattr(variable.value, "device", "")
        if not isinstance(device, str) or not device:
            return self.add_variable_from_reference(variable, name="velocity")
        with keras.device(device):
            return self.add_variable_from_reference(variable, name="velocity")

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        kind, velocity = self.kinds[index], self.velocities[index]
        rate = ops.cast(ops.convert_to_tensor(self._rates[kind]), variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        decay = self.bias_decay if kind == "biases" else self.decay
        if keras.backend.backend() == "tensorflow" and self.momentum:
            _fused_update(variable, velocity.value, gradient, rate, self.momentum, decay)
        else:
            self.assign(velocity, self.momentum * velocity - rate * (gradient + decay * variable))
            self.assign_add(variable, velocity)

    def get_config(self):
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
        }


def _fused_update(variable, velocity, gradient, rate, momentum: float, decay: float) -> None:
    """v = momentum v - decay rate w - rate gradient; w = w + v, in place and with nothing in between in memory.

    The decay goes into v first, divided by the momentum that v is about to be multiplied with.
    """
    import tensorflow as tf

    if decay:
        step = rate * (decay / momentum)
        tf.raw_ops.ResourceApplyGradientDescent(var=velocity.handle, alpha=step, delta=variable.read_value())
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=velocity.handle,
        lr=rate,
        grad=gradient,
        momentum=tf.constant(momentum, variable.dtype),
    )
