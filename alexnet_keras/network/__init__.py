"""The network: its functional model, its summary and its first layer's kernels."""
