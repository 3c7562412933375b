"""Data: images from a source, prepared once into shards that plain TFDS opens, then fed to training.

`sources` lists images, `preparation` turns them into a prepared dataset, `dataset` opens one, `verify` reads all of it
again, `pipeline` makes its batches, from the decoded images of `image_cache` where they are kept.
"""

CACHES = ("memory", "disk")  # where training keeps decoded images
