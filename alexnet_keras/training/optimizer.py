"""The paper's update rule as a Keras optimizer, and the loss scale that keeps float16 gradients from underflow."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from alexnet_keras.backend import Tensor, on_tensorflow
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.reporter import WARNINGS
from alexnet_keras.training.schedule import BIASES, layer_decays, layer_rate_factors, plan_epoch

START = 2.0**15
GROW_AFTER = 2000  # steps in a row without an overflow


@dataclass(frozen=True)
class LossScale:
    """The loss is multiplied by `factor` before the backward pass, and the gradients divided by it after.

    A step whose gradients overflow changes no weight and halves the factor; GROW_AFTER steps without one double it.
    """

    factor: float = START
    good_steps: int = 0

    def after(self, updated: bool) -> "LossScale":
        """Return the scale of the next step; `updated` is False after a step whose gradients overflowed."""
        if not updated:
            return LossScale(self.factor / 2)
        if self.good_steps + 1 == GROW_AFTER:
            return LossScale(self.factor * 2)
        return replace(self, good_steps=self.good_steps + 1)

    @property
    def exhausted(self) -> bool:
        """True if gradients overflow even unscaled: the training itself has diverged."""
        return self.factor < 1


@keras.saving.register_keras_serializable(package="alexnet_keras")
class AlexNetSGD(keras.optimizers.Optimizer):
    """Momentum with the weight decay inside the velocity, and separate rates for biases and named layers.

        v = momentum v - decay rate w - rate gradient
        w = w + v

    `keras.optimizers.SGD(weight_decay=...)` is another rule: it decays w outside the velocity, about ten times
    more weakly at momentum 0.9.

    Args:
        learning_rate: The rate of the weights: a number, a Keras schedule or a callable. Paper and net 145: 0.01 at
            the start.
        bias_learning_rate: The rate of the biases. Net 145: 0.02; None takes `learning_rate`.
        momentum: The momentum. Paper and net 145: 0.9.
        decay: The decay of the weights. Paper and net 145: 0.0005.
        bias_decay: The decay of the biases. Paper: as the weights; net 145: 0.
        layers: Other kinds of variables with a separate rate: a layer's weights by its name (`"conv1"`), a layer's
            biases by its name and `_biases` (`"fc8_biases"`). A mapping gives their rates; of a sequence they begin at
            those of weights and biases.
        layer_decays: The decay of a layer's weights by its name, where it is not `decay`.
        **kwargs: `clipnorm`, `use_ema`, `gradient_accumulation_steps` and the other arguments of Keras's optimizers,
            except `weight_decay`.

    Rates are variables: `set_rates({"weights": 0.001, "conv1": 0.0})` changes them between steps without a new trace.
    Schedules, and callbacks that set `learning_rate`, change every rate in proportion. Names in `layers` and
    `layer_decays` that none of the variables has, misspelt or frozen, are warned of when the optimizer is built.

    Raises:
        ValueError: `weight_decay` is given, `layers` is a string, `momentum` is outside 0..1 or a decay negative; or a
            schedule begins at 0, and biases or layers have a rate of their own that is not 0.

    Reference: paper, section 5; net 145: momW, momB, wc, epsW, epsB.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | Callable = 0.01,
        bias_learning_rate: float | None = None,
        momentum: float = 0.9,
        decay: float = 0.0005,
        bias_decay: float = 0.0,
        layers: Sequence[str] | Mapping[str, float] = (),
        layer_decays: Mapping[str, float] | None = None,
        name: str = "alexnet_sgd",
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("weight_decay", None) is not None:
            raise ValueError("AlexNetSGD decays weights inside the velocity: give decay=, not weight_decay=.")
        if isinstance(layers, str):
            raise ValueError(f"layers must be a sequence of names or a mapping. Received: layers={layers!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1]. Received: momentum={momentum}")
        if min(decays := (decay, bias_decay, *(layer_decays or {}).values())) < 0:
            raise ValueError(f"Decays must not be negative. Received: {min(decays)}")
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        kept = float(ops.convert_to_numpy(super().learning_rate))  # in the precision that Keras keeps it in
        start = float(learning_rate) if isinstance(learning_rate, int | float) else kept
        self.momentum, self.decay, self.bias_decay = momentum, decay, bias_decay
        self.layers, self.layer_decays = tuple(layers), dict(layer_decays or {})
        own: dict[str, float] = {}  # the rates that are given, besides that of weights
        if bias_learning_rate is not None:
            biases = (kind for kind in self.layers if kind.endswith(BIASES))
            own |= dict.fromkeys(("biases", *biases), bias_learning_rate)
        own |= layers if isinstance(layers, Mapping) else {}
        initial = {**dict.fromkeys(("weights", "biases", *self.layers), start), **own}
        if not self._is_settable:  # then the variables are multiples of the schedule's rate
            if not start and any(own.values()):
                raise ValueError(
                    "The schedule begins at 0, so that rates of biases and layers are no multiples of it: leave them "
                    "out, and they have the rate of weights, or make them 0."
                )
            initial = {kind: rate / start if start else float(kind not in own) for kind, rate in initial.items()}
        self._bias_learning_rate = bias_learning_rate
        self._given_layers = dict(layers) if isinstance(layers, Mapping) else None
        self._rates = {kind: self._rate_variable(kind, rate) for kind, rate in initial.items()}
        # `learning_rate` when the rates were set: they scale with its changes since then.
        self._reference = self._rate_variable("reference", kept if self._is_settable else 1.0)
        self._proceed = None
        self._warns_of_names = True
        self.kinds: list[str] = []
        self.decays: list[float] = []

    @property
    def rates(self) -> dict[str, float]:
        """The current rate of every kind: weights, biases, and what `layers` names."""
        return {kind: float(ops.convert_to_numpy(self._rate_of(kind, self.learning_rate))) for kind in self._rates}

    def set_rates(self, rates: dict[str, float]) -> None:
        """Change rates by kind; the others stay as they are.

        Raises:
            KeyError: The optimizer has no such kind.
            TypeError: The rates follow a schedule.
        """
        if not self._is_settable:
            raise TypeError("The rates of this optimizer follow a schedule, so that they cannot be set.")
        if unknown := sorted(set(rates) - set(self._rates)):
            raise KeyError(unknown[0])
        for kind, rate in {**self.rates, **rates}.items():
            self._rates[kind].assign(rate)
            if kind == "weights":
                self.learning_rate = rate
                # a number: variables that share a buffer cannot both be given to a step of JAX
                self._reference.assign(float(ops.convert_to_numpy(self.learning_rate)))

    @property
    def _is_settable(self) -> bool:
        """True if the rate of weights is a variable, not a schedule."""
        return isinstance(self._learning_rate, keras.Variable)

    def _rate_variable(self, kind: str, rate: float) -> keras.Variable:
        start = keras.initializers.Constant(rate)
        return self.add_variable((), start, dtype="float32", name=f"{kind}_learning_rate")

    def _rate_of(self, kind: str, learning_rate: Tensor) -> Tensor:
        """The rate of a kind where Keras's rate is `learning_rate`."""
        own, reference = ops.convert_to_tensor(self._rates[kind]), ops.convert_to_tensor(self._reference)
        now = ops.cast(learning_rate, "float32")
        change = now / ops.where(reference > 0, reference, ops.ones_like(reference))  # exactly 1 if it is the same
        return ops.where(reference > 0, own * change, now if kind == "weights" else own)

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        for variable in variables:
            *layer, name = variable.path.split("/")
            if name.startswith("bias"):
                self.kinds.append(next((kind for part in layer if (kind := part + BIASES) in self.layers), "biases"))
                self.decays.append(self.bias_decay)
            else:
                self.kinds.append(next((part for part in layer if part in self.layers), "weights"))
                own = (self.layer_decays[part] for part in layer if part in self.layer_decays)
                self.decays.append(next(own, self.decay))
        if self._warns_of_names:
            self._warn_of_unknown_layers(variables)
        self.velocities = [self._velocity_of(variable) for variable in variables]

    def _warn_of_unknown_layers(self, variables: list[keras.Variable]) -> None:
        known = {part for variable in variables for part in variable.path.split("/")[:-1]}
        named = dict.fromkeys((*(kind.removesuffix(BIASES) for kind in self.layers), *self.layer_decays))
        if unknown := [name for name in named if name not in known]:
            WARNINGS.warn(
                f"No variable of this optimizer is of {', '.join(map(repr, unknown))}: the rates and decays of layers "
                "with no such name, or that are frozen, change nothing."
            )

    def _velocity_of(self, variable: keras.Variable) -> keras.Variable:
        """A slot on the variable's own device: by default Keras puts every slot on the first device."""
        device = getattr(variable.value, "device", "")
        with keras.device(device) if device and isinstance(device, str) else nullcontext():
            return self.add_variable_from_reference(variable, name="velocity")

    @contextmanager
    def only_if(self, proceed: Tensor) -> Iterator[None]:
        """Make the updates that are traced in this scope conditional on the scalar `proceed`."""
        self._proceed = proceed
        try:
            yield
        finally:
            self._proceed = None

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        index = self._get_variable_index(variable)
        kind, decay, velocity = self.kinds[index], self.decays[index], self.velocities[index]
        rate = self._rate_of(kind, learning_rate)
        if gradient.dtype != variable.dtype:  # a cast without effect would still copy it to the first device
            gradient = ops.cast(gradient, variable.dtype)
        if on_tensorflow():
            rate = rate if rate.dtype == variable.dtype else ops.cast(rate, variable.dtype)
            _update_in_place(variable, velocity.value, gradient, rate, self.momentum, decay, self._proceed)
        else:
            self.assign(velocity, self.momentum * velocity - rate * (gradient + decay * variable))
            self.assign_add(variable, velocity)

    def _all_reduce_sum_gradients(
        self, grads_and_vars: Iterable[tuple[Tensor, keras.Variable]]
    ) -> list[tuple[Tensor, keras.Variable]]:
        """Keras's method, skipped on one replica, where it would copy every tower's gradients to the first device."""
        import tensorflow as tf

        if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
            return list(grads_and_vars)
        return super()._all_reduce_sum_gradients(grads_and_vars)

    def load_own_variables(self, store: Any) -> None:
        saved = [store[str(index)] for index in range(len(store.keys()))]
        # Version 0.1 had neither a rate of weights nor a reference.
        earlier = saved[:2] and [*saved[:2], *saved[1 : 1 + len(self._rates)], saved[1], *saved[1 + len(self._rates) :]]
        if [tuple(value.shape) for value in earlier] == [tuple(variable.shape) for variable in self.variables]:
            saved = earlier
        super().load_own_variables({str(index): value for index, value in enumerate(saved)})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "AlexNetSGD":
        optimizer = super().from_config(config, custom_objects)
        optimizer._warns_of_names = False  # where it was made they were, and layers may be frozen since
        return optimizer

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["weight_decay"]
        bias_rate, layers = self._bias_learning_rate, self._given_layers
        if self._is_settable:
            rates = self.rates
            bias_rate, layers = rates["biases"], {kind: rates[kind] for kind in self.layers}
        return {
            **config,
            "bias_learning_rate": bias_rate,
            "momentum": self.momentum,
            "decay": self.decay,
            "bias_decay": self.bias_decay,
            "layers": list(self.layers) if layers is None else dict(layers),
            "layer_decays": dict(self.layer_decays),
        }


def new_optimizer(recipe: Recipe, model: keras.Model) -> AlexNetSGD:
    """Make a recipe's optimizer for a model, with the rates of the first epoch, under the current scope."""
    training = recipe.training
    rates = plan_epoch(training, 0, [], layer_rate_factors(recipe.network)).rates
    optimizer = AlexNetSGD(
        training.weight_rate,
        training.bias_rate,
        training.momentum,
        training.weight_decay,
        training.bias_decay,
        layers=[kind for kind in rates if kind not in ("weights", "biases")],
        layer_decays=layer_decays(recipe.network),
    )
    optimizer._warns_of_names = False  # they are the recipe's, and the model may have frozen layers
    optimizer.build(model.trainable_variables)
    optimizer.set_rates(rates)
    return optimizer


def _update_in_place(
    variable: keras.Variable,
    velocity: Tensor,
    gradient: Tensor,
    rate: Tensor,
    momentum: float,
    decay: float,
    proceed: Tensor | None,
) -> None:
    """v = momentum v - decay rate w - rate gradient; w = w + v, without temporary tensors, if `proceed`.

    The condition is one operation on the variable's own device: `tf.cond` would copy a tower's gradient through the
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
        if decay and momentum:  # added to v first, divided by the momentum that v is then multiplied with
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
