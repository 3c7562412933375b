"""Data: images from a source, prepared once into shards that plain TFDS opens, then fed to training.

`sources` lists images, `prepare` turns them into a prepared dataset, `prepared` opens one again.
"""
