"""Pages about a run: its report, its model card, and a bug report."""
