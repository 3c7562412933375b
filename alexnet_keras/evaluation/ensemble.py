"""Several networks as one: the weighted mean of their probabilities (paper, section 6, table 1 and 2).

The paper averages the predictions of five CNNs, and of seven. The released code averages with weights from a
search over coordinates on the validation images' top-5 error; `search` is that search.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation.errors import Evaluation, Tally
from alexnet_keras.evaluation.predictions import Predictions, top_classes

STEP = 0.05  # between the weights that are tried, from 0 to 1
MOST_SWEEPS = 50  # over all coordinates; a search ends when a sweep finds nothing better, long before
Score = tuple[int, int, float]  # misses that count, the other misses, loss: less is better, in this order


@dataclass(frozen=True)
class Subset:
    """Every `step`-th image of a split from `start` on; all of them by default.

    A prepared split is stored in a random order, so that images 0, 2, 4, ... are a fair half of it.
    """

    start: int = 0
    step: int = 1

    def of(self, array: np.ndarray, offset: int = 0) -> np.ndarray:
        """Select the rows of these images from a piece of the split that begins at `offset`."""
        return array[(self.start - offset) % self.step :: self.step]


EVEN, ODD = Subset(0, 2), Subset(1, 2)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members and the weight of each.

    Attributes:
        members: Their predictions of the same images.
        weights: `(members,)` float64, none negative, not all 0; made to sum to 1 where probabilities are averaged.

    Raises:
        UsageError: There is only one member, or the weights are others.
        DataError: The members are of different images or classes.
    """

    members: Sequence[Predictions]
    weights: np.ndarray

    def __post_init__(self) -> None:
        check_same_images(self.members)
        weights = self.weights
        if weights.shape != (len(self.members),) or not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise UsageError(f"Every member has a weight of at least 0. Received: weights={weights.tolist()}")
        if not weights.any():
            raise UsageError("The weights of an ensemble are not all 0.")

    @property
    def shares(self) -> np.ndarray:
        """The weights divided by their sum, `(members,)` float64."""
        return self.weights / self.weights.sum()

    def chunks(self, subset: Subset = Subset()) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Iterate over averaged probabilities, float64 `(n, classes)`, and labels, a few thousand images at a time."""
        shares = self.shares
        for parts, labels in _pieces(self.members, subset):
            weighted = zip(shares, parts, strict=True)
            yield sum(share * part.astype(np.float64) for share, part in weighted if share), labels

    @property
    def top(self) -> np.ndarray:
        """`(images, 5)` int32, the likeliest classes by the averaged probabilities, the likeliest first."""
        return np.concatenate([top_classes(averaged) for averaged, _ in self.chunks()])

    def tally(self, subset: Subset = Subset()) -> Tally:
        """Count the errors of the averaged probabilities."""
        return sum((Tally.of(*chunk) for chunk in self.chunks(subset)), Tally())

    def evaluation(self, subset: Subset = Subset()) -> Evaluation:
        """Compute top-1 and top-5 error, with intervals."""
        first = self.members[0]
        return Evaluation.of(self.tally(subset), first.facts["split"], first.facts["views"], first.classes)


def mean(members: Sequence[Predictions]) -> Ensemble:
    """Average the members' probabilities with equal weights."""
    return Ensemble(members, np.ones(len(members)))


def check_same_images(members: Sequence[Predictions]) -> None:
    """Refuse predictions that cannot be averaged.

    Raises:
        UsageError: There is only one member.
        DataError: They are of different images or classes.
    """
    if len(members) < 2:
        raise UsageError("An ensemble has at least two members: name two runs or more.")
    first = members[0]
    for member in members[1:]:
        same = all(member.facts[name] == first.facts[name] for name in ("data_fingerprint", "split"))
        if not same or member.classes != first.classes or not np.array_equal(member.labels, first.labels):
            raise DataError(
                f"{member.facts['run']} and {first.facts['run']} were evaluated on different images: name the data "
                "with --data."
            )


def search(members: Sequence[Predictions], subset: Subset = Subset()) -> Ensemble:
    """Search weights by coordinate descent on the top-5 error; with five classes or fewer on the top-1 error.

    Each weight in turn takes the best of 0, 0.05, ... 1 while the others stay, until nothing gets better; equal
    errors are compared by the other error, then by the loss. The search starts from the plain mean and from the
    best member, and its result is, on the images it searched, no worse than either.

    Raises:
        UsageError: There is only one member.
        DataError: The members are of different images, or there are no images to search on.
    """
    check_same_images(members)
    count = len(members)
    margins = _Margins.of(members, subset)
    starts = [np.ones(count), *np.eye(count)]
    best_member = min(starts[1:], key=margins.score)
    searched = [_descend(margins, start) for start in (starts[0], best_member)]
    # The sums of margins are rounded differently from averaged probabilities, which decide in the last step.
    candidates = [Ensemble(members, weights) for weights in (*searched, *starts)]
    return min(candidates, key=lambda ensemble: _score(ensemble.tally(subset), margins.top1_first))


def _score(tally: Tally, top1_first: bool) -> Score:
    misses = (tally.misses1, tally.misses5) if top1_first else (tally.misses5, tally.misses1)
    return (*misses, tally.loss)


def _descend(margins: "_Margins", start: np.ndarray) -> np.ndarray:
    weights, best = start.copy(), margins.score(start)
    for _ in range(MOST_SWEEPS):
        before = best
        for member in range(len(weights)):
            for value in np.arange(0, round(1 / STEP) + 1) * STEP:
                tried = weights.copy()
                tried[member] = value
                if tried.any() and (score := margins.score(tried)) < best:
                    weights, best = tried, score
        if best == before:
            break
    return weights


@dataclass(frozen=True, eq=False)
class _Margins:
    """The differences of probability that decide, for any weights, which classes come out ahead of the right one.

    A class that no member finds at least as likely as the right one stays behind it whatever the weights, so only
    the others, a few of a thousand, are kept; that makes a search take seconds.
    """

    images: np.ndarray  # (pairs,) the image of each pair of an image and a class that may come out ahead
    margins: np.ndarray  # (pairs, members) by how much each member prefers that class to the right one
    at_label: np.ndarray  # (images, members) the probability of the right class
    top1_first: bool

    @classmethod
    def of(cls, members: Sequence[Predictions], subset: Subset) -> "_Margins":
        images, margins, at_labels, done = [], [], [], 0
        for parts, labels in _pieces(members, subset):
            index = np.arange(len(labels))
            at_label = [part[index, labels] for part in parts]
            pairs = list(zip(parts, at_label, strict=True))
            ahead = np.logical_or.reduce([part >= probability[:, None] for part, probability in pairs])
            ahead[index, labels] = False
            image, label = np.nonzero(ahead)
            leads = [part[image, label].astype(np.float64) - probability[image] for part, probability in pairs]
            images.append(image + done)
            margins.append(np.stack(leads, axis=1))
            at_labels.append(np.stack(at_label, axis=1).astype(np.float64))
            done += len(labels)
        if not done:
            raise DataError("There are no images to search the weights on.")
        classes = members[0].classes
        return cls(np.concatenate(images), np.concatenate(margins), np.concatenate(at_labels), classes <= 5)

    def score(self, weights: np.ndarray) -> Score:
        ahead = self.images[self.margins @ weights >= 0]
        ranks = np.bincount(ahead, minlength=len(self.at_label))
        return _score(Tally.of_ranks(ranks, self.at_label @ (weights / weights.sum())), self.top1_first)


def _pieces(members: Sequence[Predictions], subset: Subset) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Iterate over every member's probabilities `(n, classes)` of the same images, and the labels of these images."""
    offset = 0
    for parts in zip(*(member.chunks() for member in members), strict=True):
        labels = parts[0][1]
        yield [subset.of(probabilities, offset) for probabilities, _ in parts], subset.of(labels, offset)
        offset += len(labels)
