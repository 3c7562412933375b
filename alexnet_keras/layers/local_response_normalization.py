"""Local response normalisation across adjacent kernel maps."""

from typing import Any, Literal

import keras

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers.divisive_normalization import divisive_normalization


@keras.saving.register_keras_serializable(package="alexnet_keras")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each activity by a function of its neighbours in the n adjacent kernel maps.

    `b[i] = a[i] / (k + alpha * S)^beta`, where S is the sum of `a[j]^2` over the n maps centred on i, cut off at
    the first and last map of the input. Given one tower's maps, the windows stay inside the tower.

    Two conventions for alpha are in use, and mistaking one for the other changes alpha fivefold:

    * `"sum"`: S as above (paper, section 3.3; `tf.nn.local_response_normalization`);
    * `"mean"`: S divided by n (the released code; `torch.nn.LocalResponseNorm`; Caffe).

    Args:
        n: maps in a window, odd. Paper and net 145: 5.
        alpha: paper and net 145: 1e-4.
        beta: paper and net 145: 0.75.
        k: paper and net 145: 2 (Caffe: 1).
        alpha_convention: `"sum"` or `"mean"`.

    Input and output shape: `(batch, ..., maps)`, any float dtype. Computed in float32 inside.

    Reference: paper, section 3.3; net 145, layers rnorm1 and rnorm2.
    """

    def __init__(
        self,
        n: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        alpha_convention: Literal["sum", "mean"] = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if n < 1 or n % 2 == 0:
            raise ValueError(f"n must be a positive odd number of kernel maps. Received: n={n}")
        if alpha_convention not in ("sum", "mean"):
            raise ValueError(f"alpha_convention must be 'sum' or 'mean'. Received: {alpha_convention!r}")
        self.n, self.alpha, self.beta, self.k = n, alpha, beta, k
        self.alpha_convention = alpha_convention

    def call(self, inputs: Tensor) -> Tensor:
        alpha_of_sum = self.alpha / self.n if self.alpha_convention == "mean" else self.alpha
        return divisive_normalization(((-1, self.n),), alpha_of_sum, self.k, self.beta)(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "n": self.n,
            "alpha": self.alpha,
            "beta": self.beta,
            "k": self.k,
            "alpha_convention": self.alpha_convention,
        }
