"""A reporter that keeps what is reported, for tests to look at."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from alexnet_keras.reporter import Reporter


@dataclass
class Work:
    """A piece of work, and how far it got: `done` begins with what was done `before`."""

    what: str
    total: int | None
    unit: str = "images"
    before: int = 0
    done: int = 0
    texts: list[str] = field(default_factory=list, compare=False)


class Recorded(Reporter):
    """Keeps what is reported, and does what a test asks at the end of a step (epoch, step)."""

    def __init__(self, at=None, do=None):
        self.at, self.do = at, do
        self.notes, self.warnings, self.work, self.origins, self.steps = [], [], [], [], []

    def note(self, text):
        self.notes.append(text)

    def warn(self, text):
        self.warnings.append(text)

    @contextmanager
    def progress(self, what, total, unit="images", done=0):
        work = Work(what, total, unit, done, done)
        self.work.append(work)

        def advance(n=1, text=""):
            work.done += n
            work.texts.append(text)
            self.on_advance(work)

        yield advance

    def on_advance(self, work):
        """For subclasses that do something in the middle of a piece of work."""

    def on_initial_weights(self, origins):
        self.origins = origins

    def on_step(self, epoch, step, result):
        self.steps.append((epoch, step))
        if (epoch, step) == self.at:
            self.do()
