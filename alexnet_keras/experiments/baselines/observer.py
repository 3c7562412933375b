"""What whoever watches a system being fitted is told."""

from collections.abc import Callable

# (stage, done, total): "dictionary", 1024, 100000. A stage that is there from an earlier call is not told of.
Observer = Callable[[str, int, int], None]
# (done, total) of one stage.
Progress = Callable[[int, int], None]
