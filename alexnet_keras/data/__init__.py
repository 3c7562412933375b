"""Data: images from a source, prepared once into shards that plain TFDS opens, then fed to training.

`sources` lists images, `preparation` turns them into a prepared dataset, `dataset` opens and verifies one, `pipeline`
reads its batches.
"""
