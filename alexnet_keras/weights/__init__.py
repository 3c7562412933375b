"""Weights in the formats of others: which files there are, their readers, and the conversion of their arrays."""
