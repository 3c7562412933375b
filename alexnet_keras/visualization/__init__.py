"""Figures of what a network has learnt. Matplotlib, without a display."""
