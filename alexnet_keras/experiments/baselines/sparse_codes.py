"""Sparse codes of SIFT descriptors, and their maxima over a spatial pyramid.

J. Yang, K. Yu, Y. Gong, T. Huang, "Linear Spatial Pyramid Matching Using Sparse Coding for Image Classification", CVPR
2009. The dictionary is learnt with the l1 norm, as there; pictures are encoded with a fixed number of atoms instead
(orthogonal matching pursuit), which is computed for all descriptors of a picture at once.
"""

import warnings

import numpy as np

from alexnet_keras.experiments.baselines.dense_sift import LENGTH, DenseSift, too_few_patches
from alexnet_keras.experiments.baselines.libraries import library
from alexnet_keras.experiments.baselines.observer import Progress
from alexnet_keras.experiments.baselines.settings import SparseCoding

_BATCH = 512  # descriptors between two updates of the dictionary
_SWEEPS = 50  # of coordinate descent for a code while learning: up to 1000 would take ten times as long
_RIDGE = 1e-6  # two atoms may be almost the same


def learn_dictionary(
    descriptors: np.ndarray, settings: SparseCoding, seed: int, progress: Progress
) -> dict[str, np.ndarray]:
    """A dictionary for descriptors float32 `(n, 128)`: "atoms" float32 `(atoms, 128)`, each of length 1.

    One pass in a seeded order over the descriptors (J. Mairal et al., "Online Dictionary Learning for Sparse Coding",
    ICML 2009), which begins with a choice of them as atoms.

    Raises:
        DataError: there are fewer descriptors than atoms.
    """
    decomposition, exceptions = library("sklearn.decomposition"), library("sklearn.exceptions")
    random = np.random.default_rng(seed)
    lengths = np.linalg.norm(descriptors, axis=1)
    textured = np.flatnonzero(lengths > 0.5)
    if len(textured) < settings.atoms:
        raise too_few_patches(len(textured), f"a dictionary of {settings.atoms:,} atoms")
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
    # One thread: its matrices are so small that more would only wait for each other.
    with library("threadpoolctl").threadpool_limits(1), warnings.catch_warnings():
        # Codes are good enough for the dictionary long before they reach scikit-learn's tolerance.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        for start in range(0, len(order), _BATCH):
            learner.partial_fit(descriptors[order[start : start + _BATCH]])
            progress(min(start + _BATCH, len(order)), len(order))
    return {"atoms": _unit_rows(learner.components_)}


class SparseCodeEncoder:
    """From pictures to the pooled codes of their descriptors.

    Args:
        settings: as the dictionary was learnt with.
        atoms: float32 `(atoms, 128)`, each of length 1.

    Attributes:
        size: Numbers in a feature: atoms times cells of the pyramid.
    """

    def __init__(self, settings: SparseCoding, atoms: np.ndarray) -> None:
        self._settings, self._atoms, self._sift = settings, atoms, DenseSift(settings.grid)
        self.size = len(atoms) * sum(level**2 for level in settings.levels)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The feature of a picture uint8 `(side, side, 3)`: float32 `(size,)` of length 1."""
        codes = sparse_codes(self._sift(image), self._atoms, self._settings.nonzeros)
        pooled = pyramid_maxima(np.abs(codes), self._sift.places, self._settings.levels)
        return pooled / max(float(np.linalg.norm(pooled)), 1e-12)


def sparse_codes(descriptors: np.ndarray, atoms: np.ndarray, nonzeros: int) -> np.ndarray:
    """Codes of descriptors by orthogonal matching pursuit, each step for all of them together.

    At each step a descriptor gets the atom that its remainder is most alike to, in either sign, and then the best
    weights for all atoms that it has (Y. Pati et al., "Orthogonal Matching Pursuit", Asilomar 1993).

    Args:
        descriptors: float32 `(n, 128)`.
        atoms: float32 `(atoms, 128)`, each of length 1.
        nonzeros: atoms in a code.

    Returns:
        float32 `(n, atoms)`; `codes @ atoms` is near the descriptors.
    """
    gram = atoms @ atoms.T
    likeness = descriptors @ atoms.T
    all_rows = np.arange(len(descriptors))
    chosen = np.empty((len(descriptors), 0), int)
    weights = np.empty((len(descriptors), 0), np.float32)
    for _ in range(nonzeros):
        remainder = descriptors - (weights[:, None] @ atoms[chosen])[:, 0] if chosen.size else descriptors
        candidates = np.abs(remainder @ atoms.T)
        np.put_along_axis(candidates, chosen, -1, axis=1)  # rounding must not choose an atom again
        chosen = np.concatenate([chosen, candidates.argmax(axis=1)[:, None]], axis=1)
        among = gram[chosen[:, :, None], chosen[:, None, :]] + _RIDGE * np.eye(chosen.shape[1], dtype=np.float32)
        weights = np.linalg.solve(among, np.take_along_axis(likeness, chosen, axis=1)[..., None])[..., 0]
    codes = np.zeros((len(descriptors), len(atoms)), np.float32)
    codes[all_rows[:, None], chosen] = weights
    return codes


def pyramid_maxima(codes: np.ndarray, places: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
    """The maxima of codes `(n, atoms)`, 0 or more, over the cells of a pyramid: float32 `(cells * atoms,)`.

    Args:
        places: `(n, 2)`, (y, x) of each code in 0..1.
        levels: divisions of each side; cells go row by row, and one without a code is 0.
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
