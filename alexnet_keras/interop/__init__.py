"""Weights in: networks that Caffe, TensorFlow 1 and PyTorch trained become runs of this package."""
