"""Improved Fisher vectors of SIFT descriptors.

J. Sánchez, F. Perronnin, "High-Dimensional Signature Compression for Large-Scale Image Classification", CVPR 2011: the
other system of table 1. Its second kind of descriptor, local colour statistics, and its compression are left out.
"""

import warnings

import numpy as np

from alexnet_keras.experiments.baselines.dense_sift import DenseSift, too_few_patches
from alexnet_keras.experiments.baselines.libraries import library
from alexnet_keras.experiments.baselines.observer import Progress
from alexnet_keras.experiments.baselines.settings import FisherVectors

_ROUNDS = 40  # of expectation-maximisation at most
_LEAST_VARIANCE = 1e-5  # flat patches are all the same, and would have a Gaussian of no width


def learn_mixture(
    descriptors: np.ndarray, settings: FisherVectors, seed: int, progress: Progress
) -> dict[str, np.ndarray]:
    """Principal components and a mixture of Gaussians for descriptors float32 `(n, 128)`.

    Returns:
        float32 "mean" `(128,)` and "axes" `(128, components)` of the projection, and of the Gaussians "weights"
        `(gaussians,)`, "means" and "variances" `(gaussians, components)`.

    Raises:
        DataError: there are fewer descriptors than Gaussians or components.
    """
    if len(descriptors) < max(settings.gaussians, settings.components):
        what = f"{settings.components:,} principal components and {settings.gaussians:,} Gaussians"
        raise too_few_patches(len(descriptors), what)
    pca = library("sklearn.decomposition").PCA(settings.components, random_state=seed).fit(descriptors)
    mean, axes = pca.mean_.astype(np.float32), pca.components_.T.astype(np.float32)
    progress(1, 2)
    mixture = library("sklearn.mixture").GaussianMixture(
        settings.gaussians,
        covariance_type="diag",
        max_iter=_ROUNDS,
        reg_covar=_LEAST_VARIANCE,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The likelihood creeps on for long after the mixture is good enough.
        warnings.simplefilter("ignore", library("sklearn.exceptions").ConvergenceWarning)
        mixture.fit((descriptors - mean) @ axes)
    progress(2, 2)
    learnt = {"weights": mixture.weights_, "means": mixture.means_, "variances": mixture.covariances_}
    return {"mean": mean, "axes": axes} | {name: array.astype(np.float32) for name, array in learnt.items()}


class FisherEncoder:
    """From pictures to the Fisher vectors of their descriptors.

    Args:
        settings: as the mixture was learnt with.
        mean, axes, weights, means, variances: as `learn_mixture` returns them.

    Attributes:
        size: Numbers in a feature: for each part of the picture and each Gaussian 1 + 2 * components.
    """

    def __init__(
        self,
        settings: FisherVectors,
        mean: np.ndarray,
        axes: np.ndarray,
        weights: np.ndarray,
        means: np.ndarray,
        variances: np.ndarray,
    ) -> None:
        self._sift, self._mean, self._axes = DenseSift(settings.grid), mean, axes
        mixture = library("sklearn.mixture").GaussianMixture(len(weights), covariance_type="diag")
        mixture.weights_, mixture.means_, mixture.covariances_ = weights, means, variances
        mixture.precisions_cholesky_ = 1 / np.sqrt(variances)
        self._mixture, self._fisher_vector = mixture, library("skimage.feature").fisher_vector
        height = self._sift.places[:, 0]
        stripe = np.minimum(height * settings.stripes, settings.stripes - 1).astype(int)
        self._parts = [np.arange(len(height)), *(np.flatnonzero(stripe == part) for part in range(settings.stripes))]
        self.size = len(self._parts) * len(weights) * (1 + 2 * axes.shape[1])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The feature of a picture uint8 `(side, side, 3)`: float32 `(size,)` of length 1.

        Each part of the picture has its own signed square root and length, so that all count the same.
        """
        projected = (self._sift(image) - self._mean) @ self._axes
        vectors = [self._fisher_vector(projected[part], self._mixture, improved=True) for part in self._parts]
        return (np.concatenate(vectors) / np.sqrt(len(vectors))).astype(np.float32)
