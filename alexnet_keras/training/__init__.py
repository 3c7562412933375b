"""Training: the loop, its devices and schedule, and the saved states that a run resumes from."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")  # Keras's dtype policies
STRATEGIES = ("one", "towers", "mirrored", "multi-worker")  # ways in which devices share the work
