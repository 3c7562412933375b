"""The factor that keeps float16's small gradients from vanishing, and how it follows what they allow."""

from dataclasses import dataclass, replace

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
        """The scale of the next step, after one whose gradients were finite, or not."""
        if not updated:
            return LossScale(self.factor / 2)
        if self.good_steps + 1 == GROW_AFTER:
            return LossScale(self.factor * 2)
        return replace(self, good_steps=self.good_steps + 1)

    @property
    def exhausted(self) -> bool:
        """Whether gradients overflow even unscaled: the training itself has diverged."""
        return self.factor < 1
