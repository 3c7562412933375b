"""Images as vectors, in the two ways of table 1: SIFT on a grid, then sparse codes or Fisher vectors.

SIFT: D. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004, on a grid at several scales.
Nothing is detected and no patch is rotated: every patch of the grid has a descriptor, as in both systems.

Sparse codes, and their maxima over a spatial pyramid: J. Yang, K. Yu, Y. Gong, T. Huang, "Linear Spatial Pyramid
Matching Using Sparse Coding for Image Classification", CVPR 2009. The dictionary is learnt with the l1 norm, as there;
images are encoded with a fixed number of atoms instead (orthogonal matching pursuit), which is computed for all
descriptors of an image at once.

Improved Fisher vectors: J. Sánchez, F. Perronnin, "High-Dimensional Signature Compression for Large-Scale Image
Classification", CVPR 2011. Its second kind of descriptor, local colour statistics, and its compression are left out."""

import warnings

import numpy as np

from alexnet_keras.errors import DataError
from alexnet_keras.experiments.classical.settings import FisherVectors, Grid, SparseCoding, library
from alexnet_keras.reporter import Advance

LENGTH = 128  # 4x4 bins of 8 directions
_PATCH_OF_SIZE = 6  # OpenCV's bins are 1.5 times a keypoint's size wide, and there are four of them
_SMOOTHING = 6  # width of a bin in standard deviations of the blur before it: VLFeat's choice for dense SIFT
_FLAT = 4.0  # grey levels of 255: patches that vary less are noise, which SIFT's normalisation would amplify


class DenseSift:
    """SIFT descriptors of images at the positions of a grid, which are computed once.

    Attributes:
        places: float32 `(n, 2)`, the centre of each descriptor's patch, (y, x), as shares of the image's sides.
    """

    def __init__(self, grid: Grid) -> None:
        cv2 = library("cv2")
        self._patch, self._scales, places = grid.patch, [], []
        for side in grid.sides:
            centers = _centers(side, grid.patch, grid.step)
            rows, columns = (axis.ravel() for axis in np.meshgrid(centers, centers, indexing="ij"))
            size = grid.patch / _PATCH_OF_SIZE
            points = [cv2.KeyPoint(float(x), float(y), size, 0.0) for y, x in zip(rows, columns, strict=True)]
            self._scales.append((side, points, np.stack([rows, columns]).round().astype(int)))
            places.append(np.stack([rows + 0.5, columns + 0.5], axis=1) / side)
        self.places = np.concatenate(places).astype(np.float32)
        self._sigma = max(grid.patch / 4 / _SMOOTHING, 0.6)  # OpenCV assumes that images have 0.5 already
        self._sift = cv2.SIFT_create(nOctaveLayers=1, sigma=self._sigma)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Compute the descriptors of an image.

        Each is the square root of a SIFT descriptor that sums to 1, which has length 1 and compares histograms better
        (R. Arandjelović, A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012).
        That of a patch with hardly any contrast is shorter in proportion to it.

        Args:
            image: uint8 `(side, side, 3)`, RGB.

        Returns:
            float32 `(n, 128)`, in the order of `places`.
        """
        cv2 = library("cv2")
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        descriptors = []
        for side, points, (rows, columns) in self._scales:
            scaled = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
            _, histograms = self._sift.compute(scaled, points)
            histograms /= np.maximum(histograms.sum(axis=1, keepdims=True), 1e-6)
            contrast = _contrast(scaled, self._patch)[rows, columns, None]
            descriptors.append(np.sqrt(histograms, out=histograms) * np.minimum(contrast / _FLAT, 1))
        return np.concatenate(descriptors)


def _too_few_patches(count: int, what: str) -> DataError:
    """The error where nothing can be learnt from this number of descriptors."""
    return DataError(f"{count:,} patches with any contrast are too few for {what}: take more images, or learn less.")


def _centers(side: int, patch: int, step: int) -> np.ndarray:
    """The centres of as many patches as fit a side, pixels, with equal margins at both ends."""
    count = (side - patch) // step + 1
    return (side - 1) / 2 + step * (np.arange(count) - (count - 1) / 2)


def _contrast(grey: np.ndarray, patch: int) -> np.ndarray:
    """The standard deviation of the patch around every pixel, float32 `(side, side)`, grey levels of 255."""
    cv2 = library("cv2")
    mean = cv2.boxFilter(grey, cv2.CV_32F, (patch, patch))
    squares = cv2.sqrBoxFilter(grey, cv2.CV_32F, (patch, patch))
    return np.sqrt(np.maximum(squares - mean**2, 0))


_BATCH = 512  # descriptors between two updates of the dictionary
_SWEEPS = 50  # of coordinate descent for a code while learning; up to 1000 would take ten times as long
_RIDGE = 1e-6  # two atoms may be almost the same


def learn_dictionary(
    descriptors: np.ndarray, settings: SparseCoding, seed: int, advance: Advance
) -> dict[str, np.ndarray]:
    """Learn a dictionary of descriptors in one pass over them in random order.

    The method is that of J. Mairal et al., "Online Dictionary Learning for Sparse Coding", ICML 2009; the first atoms
    are some of the descriptors, float32 `(n, 128)`.

    Returns:
        "atoms" float32 `(atoms, 128)`, each of length 1.

    Raises:
        DataError: There are fewer descriptors than atoms.
    """
    decomposition, exceptions = library("sklearn.decomposition"), library("sklearn.exceptions")
    random = np.random.default_rng(seed)
    lengths = np.linalg.norm(descriptors, axis=1)
    textured = np.flatnonzero(lengths > 0.5)
    if len(textured) < settings.atoms:
        raise _too_few_patches(len(textured), f"a dictionary of {settings.atoms:,} atoms")
    first = descriptors[random.permutation(textured)[: settings.atoms]]
    learner = decomposition.MiniBatchDictionaryLearning(
        n_components=settings.atoms,
        alpha=settings.penalty,
        fit_algorithm="cd",
        transform_max_iter=_SWEEPS,
        batch_size=_BATCH,
        dict_init=_unit_rows(first),
        random_state=seed,
    )
    order = random.permutation(len(descriptors))
    # One thread: the matrices are too small for more.
    with library("threadpoolctl").threadpool_limits(1), warnings.catch_warnings():
        # Codes are good enough for the dictionary long before they reach scikit-learn's tolerance.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        for start in range(0, len(order), _BATCH):
            batch = descriptors[order[start : start + _BATCH]]
            learner.partial_fit(batch)
            advance(len(batch))
    return {"atoms": _unit_rows(learner.components_)}


class SparseCodeEncoder:
    """Sparse codes of an image's descriptors in a dictionary that `learn_dictionary` learnt, pooled over a pyramid.

    Attributes:
        size: Length of a feature: atoms times cells of the pyramid.
    """

    def __init__(self, settings: SparseCoding, dictionary: dict[str, np.ndarray]) -> None:
        atoms = dictionary["atoms"]
        self._settings, self._atoms, self._sift = settings, atoms, DenseSift(settings.grid)
        self.size = len(atoms) * sum(level**2 for level in settings.levels)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Encode an image uint8 `(side, side, 3)`, RGB, as float32 `(size,)` of length 1."""
        codes = sparse_codes(self._sift(image), self._atoms, self._settings.nonzeros)
        pooled = pyramid_maxima(np.abs(codes), self._sift.places, self._settings.levels)
        return pooled / max(float(np.linalg.norm(pooled)), 1e-12)


def sparse_codes(descriptors: np.ndarray, atoms: np.ndarray, nonzeros: int) -> np.ndarray:
    """Encode descriptors by orthogonal matching pursuit, each step for all of them together.

    At each step a descriptor gets the atom most similar to its residual, in either sign, and then the best weights for
    all of its atoms (Y. Pati et al., "Orthogonal Matching Pursuit", Asilomar 1993).

    Args:
        descriptors: float32 `(n, 128)`.
        atoms: float32 `(atoms, 128)`, each of length 1.
        nonzeros: Number of atoms in a code.

    Returns:
        The codes, float32 `(n, atoms)`; `codes @ atoms` approximates the descriptors.
    """
    gram = atoms @ atoms.T
    similarity = descriptors @ atoms.T
    all_rows = np.arange(len(descriptors))
    chosen = np.empty((len(descriptors), 0), int)
    weights = np.empty((len(descriptors), 0), np.float32)
    for _ in range(nonzeros):
        residual = descriptors - (weights[:, None] @ atoms[chosen])[:, 0] if chosen.size else descriptors
        candidates = np.abs(residual @ atoms.T)
        np.put_along_axis(candidates, chosen, -1, axis=1)  # rounding must not choose an atom again
        chosen = np.concatenate([chosen, candidates.argmax(axis=1)[:, None]], axis=1)
        products = gram[chosen[:, :, None], chosen[:, None, :]] + _RIDGE * np.eye(chosen.shape[1], dtype=np.float32)
        weights = np.linalg.solve(products, np.take_along_axis(similarity, chosen, axis=1)[..., None])[..., 0]
    codes = np.zeros((len(descriptors), len(atoms)), np.float32)
    codes[all_rows[:, None], chosen] = weights
    return codes


def pyramid_maxima(codes: np.ndarray, places: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
    """Pool codes by their maxima over the cells of a spatial pyramid.

    Args:
        codes: `(n, atoms)`, 0 or more.
        places: `(n, 2)`, (y, x) of each code in 0..1.
        levels: Divisions of each side, level by level.

    Returns:
        float32 `(cells * atoms,)`, cell by cell in rows; a cell without a code is 0.
    """
    pooled = []
    for level in levels:
        rows, columns = (np.minimum(places * level, level - 1)).astype(int).T
        cells = rows * level + columns
        pooled += [codes[cells == cell].max(axis=0, initial=0) for cell in range(level**2)]
    return np.concatenate(pooled)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    rows = rows.reshape(-1, LENGTH)
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


_ROUNDS = 40  # of expectation-maximisation at most
_LEAST_VARIANCE = 1e-5  # flat patches are all equal, and would have a Gaussian of no width


def learn_mixture(
    descriptors: np.ndarray, settings: FisherVectors, seed: int, advance: Advance
) -> dict[str, np.ndarray]:
    """Fit the principal components and a mixture of Gaussians to descriptors, float32 `(n, 128)`.

    Returns:
        float32 "mean" `(128,)` and "axes" `(128, components)` of the projection, and of the Gaussians "weights"
        `(gaussians,)`, "means" and "variances" `(gaussians, components)`.

    Raises:
        DataError: There are fewer descriptors than Gaussians or components.
    """
    if len(descriptors) < max(settings.gaussians, settings.components):
        what = f"{settings.components:,} principal components and {settings.gaussians:,} Gaussians"
        raise _too_few_patches(len(descriptors), what)
    pca = library("sklearn.decomposition").PCA(settings.components, random_state=seed).fit(descriptors)
    mean, axes = pca.mean_.astype(np.float32), pca.components_.T.astype(np.float32)
    mixture = library("sklearn.mixture").GaussianMixture(
        settings.gaussians,
        covariance_type="diag",
        max_iter=_ROUNDS,
        reg_covar=_LEAST_VARIANCE,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # The likelihood still rises slowly long after the mixture is good enough.
        warnings.simplefilter("ignore", library("sklearn.exceptions").ConvergenceWarning)
        mixture.fit((descriptors - mean) @ axes)
    advance(len(descriptors))
    learnt = {"weights": mixture.weights_, "means": mixture.means_, "variances": mixture.covariances_}
    return {"mean": mean, "axes": axes} | {name: array.astype(np.float32) for name, array in learnt.items()}


class FisherEncoder:
    """Fisher vectors of an image's descriptors under a mixture that `learn_mixture` learnt.

    Attributes:
        size: Length of a feature: for each part of the image and each Gaussian 1 + 2 * components.
    """

    def __init__(self, settings: FisherVectors, learnt: dict[str, np.ndarray]) -> None:
        self._sift, self._mean, self._axes = DenseSift(settings.grid), learnt["mean"], learnt["axes"]
        weights, variances = learnt["weights"], learnt["variances"]
        mixture = library("sklearn.mixture").GaussianMixture(len(weights), covariance_type="diag")
        mixture.weights_, mixture.means_, mixture.covariances_ = weights, learnt["means"], variances
        mixture.precisions_cholesky_ = 1 / np.sqrt(variances)
        self._mixture, self._fisher_vector = mixture, library("skimage.feature").fisher_vector
        height = self._sift.places[:, 0]
        stripe = np.minimum(height * settings.stripes, settings.stripes - 1).astype(int)
        self._parts = [np.arange(len(height)), *(np.flatnonzero(stripe == part) for part in range(settings.stripes))]
        self.size = len(self._parts) * len(weights) * (1 + 2 * self._axes.shape[1])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Encode an image uint8 `(side, side, 3)`, RGB, as float32 `(size,)` of length 1.

        Each part of the image has its own signed square root and normalisation, so that all parts count the same.
        """
        projected = (self._sift(image) - self._mean) @ self._axes
        vectors = [self._fisher_vector(projected[part], self._mixture, improved=True) for part in self._parts]
        return (np.concatenate(vectors) / np.sqrt(len(vectors))).astype(np.float32)
