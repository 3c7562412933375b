"""The settings of both systems of table 1, in two sizes, and the libraries of the extra `baselines`.

`MINI` is for some thousands of images and some minutes on two processors.

`FULL` is for ILSVRC-2010 or ILSVRC-2012: 1.3 million images of 1000 classes. Its costs are computed from the rates of
`MINI`, not measured:

| system | numbers an image | folder | encoding | classifiers | memory |
|---|---|---|---|---|---|
| sparse coding | 21,504 | 57 GB | 50 core hours | 150 core hours | 4 GB |
| Fisher vectors | 33,024 | 88 GB | 90 core hours | 190 core hours | 6 GB |

With 16 processors that is half a day for the first and most of a day for the second, if the disk reads rows in any
order at some hundred MB a second. Three stripes, as `MINI` has, would make the second four times as large and slow."""

from dataclasses import dataclass, replace
from functools import partial

from alexnet_keras.storage.extras import optional

# A module of OpenCV, scikit-image or scikit-learn: "cv2", "skimage.feature", "sklearn.mixture".
library = partial(optional, extra="baselines")


def check_libraries() -> None:
    """Import all libraries, before any work is done.

    Raises:
        UsageError: One is not installed.
    """
    for module in ("cv2", "skimage", "sklearn", "threadpoolctl"):
        library(module)


@dataclass(frozen=True)
class Grid:
    """The grid on which descriptors are computed.

    Attributes:
        sides: The sides, pixels, that the image is scaled to, one after the other.
        patch: Side of a patch, pixels of the scaled image; a descriptor is 4x4 bins of a quarter of it.
        step: Distance from patch to patch, pixels of the scaled image.
    """

    sides: tuple[int, ...]
    patch: int
    step: int


@dataclass(frozen=True)
class Sample:
    """The sample that a dictionary or a mixture is learnt from, at random with the seed.

    Attributes:
        images: Number of training images.
        patches: Number of patches of each.
    """

    images: int
    patches: int


@dataclass(frozen=True)
class Svm:
    """The training of the linear classifiers, one against the rest.

    Attributes:
        alphas: Strengths of the weight decay, of which the best on held-out training images is taken.
        epochs: Passes over the training images.
        positive_weight: Weight of an image of the class, where one of the rest has 1.
        tuning_images: Number of training images, drawn with the seed, that the alphas are compared on; all if there
            are fewer. A tenth of them is held out.
    """

    alphas: tuple[float, ...]
    epochs: int
    positive_weight: float
    tuning_images: int


@dataclass(frozen=True)
class SparseCoding:
    """SIFT, sparse codes, their maxima over a spatial pyramid, and linear SVMs: Yang et al., CVPR 2009.

    Attributes:
        grid: The grid of descriptors.
        sample: The sample that the dictionary is learnt from.
        atoms: Number of atoms in the dictionary.
        penalty: The weight of the l1 norm while the dictionary is learnt.
        nonzeros: Number of atoms in a code.
        levels: Levels of the pyramid: 4 divides the image into 4x4 cells.
        svm: The training of the classifiers.
    """

    grid: Grid
    sample: Sample
    atoms: int
    penalty: float
    nonzeros: int
    levels: tuple[int, ...]
    svm: Svm


@dataclass(frozen=True)
class FisherVectors:
    """SIFT, a mixture of Gaussians, Fisher vectors and linear SVMs: Sánchez and Perronnin, CVPR 2011.

    Attributes:
        grid: The grid of descriptors.
        sample: The sample that the principal components and the mixture are learnt from.
        components: Number of principal components of a descriptor that are kept.
        gaussians: Number of Gaussians in the mixture.
        stripes: Number of horizontal stripes with their own Fisher vectors, besides that of the whole image.
        svm: The training of the classifiers.
    """

    grid: Grid
    sample: Sample
    components: int
    gaussians: int
    stripes: int
    svm: Svm


SystemSettings = SparseCoding | FisherVectors

_MINI_SVM = Svm(alphas=(3e-4, 1e-4, 3e-5, 1e-5), epochs=10, positive_weight=1.0, tuning_images=10_000)
_MINI_SPARSE = SparseCoding(
    grid=Grid(sides=(256, 128), patch=16, step=6),
    sample=Sample(images=1000, patches=50),
    atoms=1024,
    penalty=0.15,
    nonzeros=5,
    levels=(1, 2, 4),
    svm=_MINI_SVM,
)
_MINI_FISHER = FisherVectors(
    grid=Grid(sides=(256, 181, 128, 90), patch=24, step=6),
    sample=Sample(images=1000, patches=200),
    components=64,
    gaussians=64,
    stripes=3,
    svm=_MINI_SVM,
)

# In 1000 classes one image of a class meets 999 of the rest, which would outvote it: F. Perronnin et al., "Towards
# Good Practice in Large-Scale Learning for Image Classification", CVPR 2012. The weight itself is a guess.
_FULL_SVM = Svm(alphas=(1e-4, 1e-5, 1e-6), epochs=4, positive_weight=8.0, tuning_images=100_000)

MINI: dict[str, SystemSettings] = {"sparse-coding": _MINI_SPARSE, "fisher-vectors": _MINI_FISHER}
FULL: dict[str, SystemSettings] = {
    "sparse-coding": replace(
        _MINI_SPARSE,
        grid=Grid(sides=(256, 181, 128), patch=16, step=6),
        sample=Sample(images=10_000, patches=50),
        svm=_FULL_SVM,
    ),
    "fisher-vectors": replace(
        _MINI_FISHER,
        grid=Grid(sides=(256, 181, 128, 90, 64), patch=32, step=4),
        sample=Sample(images=10_000, patches=100),
        gaussians=256,
        stripes=0,
        svm=_FULL_SVM,
    ),
}
