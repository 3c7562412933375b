"""Figures of what a network has learnt. Matplotlib, without a display."""

FORMATS = (".png", ".svg", ".pdf")  # in which a figure is written
