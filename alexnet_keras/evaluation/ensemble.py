"""Several networks as one: the weighted mean of their probabilities (paper, section 6, table 1 and 2).

The paper averages the predictions of five CNNs, and of seven. The released code averages with weights found by a
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
class Rows:
    """Every `step`-th image of a split from `start` on; all of them by default.

    A prepared split is stored in a random order, so that rows 0, 2, 4, ... are a fair half of it.
    """

    start: int = 0
    step: int = 1

    def of(self, array: np.ndarray, offset: int = 0) -> np.ndarray:
        """These rows of a piece of the split that begins at `offset`."""
        return array[(self.start - offset) % self.step :: self.step]


EVEN, ODD = Rows(0, 2), Rows(1, 2)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members and the weight of each.

    Attributes:
        members: Their predictions of the same images.
        weights: `(members,)` float64, none negative, not all 0; made to sum to 1 where probabilities are averaged.
    """

    members: Sequence[Predictions]
    weights: np.ndarray

    def __post_init__(self) -> None:
        check_same_images(self.members)

    def chunks(self, rows: Rows = Rows()) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Averaged probabilities, float64 `(n, classes)`, and labels, a few thousand images at a time."""
        shares = self.weights / self.weights.sum()
        offset = 0
        for parts in zip(*(member.chunks() for member in self.members), strict=True):
            labels = parts[0][1]
            averaged = sum(
                share * rows.of(part, offset).astype(np.float64)
                for share, (part, _) in zip(shares, parts, strict=True)
                if share
            )
            yield averaged, rows.of(labels, offset)
            offset += len(labels)

    @property
    def top(self) -> np.ndarray:
        """`(images, 5)` int32, the likeliest classes by the averaged probabilities, the likeliest first."""
        return np.concatenate([top_classes(averaged) for averaged, _ in self.chunks()])

    def tally(self, rows: Rows = Rows()) -> Tally:
        """What the errors of the averaged probabilities are computed from."""
        return sum((Tally.of(*chunk) for chunk in self.chunks(rows)), Tally())

    def evaluation(self, rows: Rows = Rows()) -> Evaluation:
        """Top-1 and top-5 error, with intervals."""
        first = self.members[0]
        classes = first.classes
        return Evaluation.of(self.tally(rows), first.facts["split"], first.facts["views"], classes)


def mean(members: Sequence[Predictions]) -> Ensemble:
    """The plain mean of the members' probabilities."""
    return Ensemble(members, np.ones(len(members)))


def one_hot(members: int, index: int) -> np.ndarray:
    """The weights of an ensemble in which one member speaks alone."""
    return np.eye(members)[index]


def check_same_images(members: Sequence[Predictions]) -> None:
    """Refuses predictions that cannot be averaged.

    Raises:
        UsageError: there is only one member.
        DataError: they are of different images or classes.
    """
    if len(members) < 2:
        raise UsageError("An ensemble has at least two members: name two runs or more.")
    first = members[0]
    for member in members[1:]:
        same = member.facts["data_fingerprint"] == first.facts["data_fingerprint"]
        if not same or (member.classes, len(member.labels)) != (first.classes, len(first.labels)):
            raise DataError(
                f"{member.facts['run']} and {first.facts['run']} were evaluated on different images: name the data "
                "with --data."
            )


def search(members: Sequence[Predictions], rows: Rows = Rows()) -> Ensemble:
    """Weights found by coordinate descent on the top-5 error; with five classes or fewer on the top-1 error.

    Each weight in turn takes the best of 0, 0.05, ... 1 while the others stay, until nothing gets better; equal
    errors are told apart by the other error, then by the loss. The search starts from the plain mean and from
    the best member, and ends, on the rows it searched, no worse than either.

    Args:
        rows: the images to search on.
    """
    check_same_images(members)
    count = len(members)
    contest = _Contest.of(members, rows)
    starts = [np.ones(count), *np.eye(count)]
    best_member = min(starts[1:], key=contest.score)
    found = [_descend(contest, start) for start in (starts[0], best_member)]
    # The contest's sums round otherwise than averaged probabilities do, so the last word is theirs.
    candidates = [Ensemble(members, weights) for weights in (*found, *starts)]
    return min(candidates, key=lambda ensemble: _score(ensemble.tally(rows), contest.top1_first))


def _score(tally: Tally, top1_first: bool) -> Score:
    misses = (tally.misses1, tally.misses5) if top1_first else (tally.misses5, tally.misses1)
    return (*misses, tally.loss)


def _descend(contest: "_Contest", start: np.ndarray) -> np.ndarray:
    weights, best = start.copy(), contest.score(start)
    for _ in range(MOST_SWEEPS):
        before = best
        for member in range(len(weights)):
            for value in np.arange(0, round(1 / STEP) + 1) * STEP:
                tried = weights.copy()
                tried[member] = value
                if tried.any() and (score := contest.score(tried)) < best:
                    weights, best = tried, score
        if best == before:
            break
    return weights


@dataclass(frozen=True, eq=False)
class _Contest:
    """All that weights are judged by: for every image, the classes that could come out ahead of the right one.

    A class that no member finds at least as likely as the right one stays behind it whatever the weights, so only
    the others, a few of a thousand, are kept; that makes a search take seconds.
    """

    images: np.ndarray  # (pairs,) the image of each pair of an image and a contender
    leads: np.ndarray  # (pairs, members) by how much each member prefers the contender to the right class
    at_label: np.ndarray  # (images, members) the probability of the right class
    top1_first: bool

    @classmethod
    def of(cls, members: Sequence[Predictions], rows: Rows) -> "_Contest":
        images, leads, at_label = [], [], []
        offset = done = 0
        for parts in zip(*(member.chunks() for member in members), strict=True):
            labels = rows.of(parts[0][1], offset)
            of_label = [rows.of(part, offset)[np.arange(len(labels)), labels] for part, _ in parts]
            ahead = np.zeros((len(labels), parts[0][0].shape[1]), bool)
            for (part, _), probability in zip(parts, of_label, strict=True):
                ahead |= rows.of(part, offset) >= probability[:, None]
            ahead[np.arange(len(labels)), labels] = False
            image, contender = np.nonzero(ahead)
            leads.append(
                np.stack(
                    [
                        rows.of(part, offset)[image, contender].astype(np.float64) - probability[image]
                        for (part, _), probability in zip(parts, of_label, strict=True)
                    ],
                    axis=1,
                )
            )
            images.append(image + done)
            at_label.append(np.stack(of_label, axis=1).astype(np.float64))
            offset, done = offset + len(parts[0][1]), done + len(labels)
        if not done:
            raise DataError("There are no images to search the weights on.")
        classes = members[0].classes
        return cls(np.concatenate(images), np.concatenate(leads), np.concatenate(at_label), classes <= 5)

    def score(self, weights: np.ndarray) -> Score:
        ahead = self.images[self.leads @ weights >= 0]
        ranks = np.bincount(ahead, minlength=len(self.at_label))
        averaged = self.at_label @ (weights / weights.sum())
        loss = float(-np.log(np.maximum(averaged, 1e-12)).sum())
        return _score(Tally(len(ranks), loss, int((ranks >= 1).sum()), int((ranks >= 5).sum())), self.top1_first)
