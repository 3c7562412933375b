"""Images in and classes out, for those who know `keras.applications`."""

from typing import Any

import numpy as np

from alexnet_keras.data.class_names import imagenet_words
from alexnet_keras.data.images import IMAGE_SIZE
from alexnet_keras.errors import UsageError, whole_number
from alexnet_keras.evaluation.errors import check_finite, floating
from alexnet_keras.evaluation.image_inputs import crop_of, several


def preprocess_input(images: Any, size: int = 224) -> np.ndarray:
    """Cut the crops that a network of AlexNet's reads; nothing is subtracted or scaled, as its layers do that.

        model = AlexNet(recipe="torchvision", weights="imagenet")
        probabilities = model.predict(preprocess_input("photo.jpg"))
        print(decode_predictions(probabilities))

    The shorter side of an image becomes 256 pixels, and the centre is cut out (paper, section 2). An array that has the
    size of a crop is one already and stays as it is.

    Args:
        images: An image, a list of images or a batch, of any kind that `Classifier` takes: paths, bytes, Pillow images,
            arrays `(height, width, 3)` RGB, 0..255.
        size: The side of a crop in pixels; 227 for the recipes `"caffe"` and `"caffenet"`.

    Returns:
        Crops `(images, size, size, 3)`, RGB, 0..255, uint8; of one image a batch of one.

    Raises:
        UsageError: There is no such file, it is no image of these kinds, or there is no crop of this size.
        DataError: An image cannot be used.
    """
    if whole_number("size", size, refusal=UsageError) > IMAGE_SIZE:
        raise UsageError(f"size must be 1 to {IMAGE_SIZE}. Received: size={size}")
    given = several(images)
    crops = [crop_of(image, size) for image in ([images] if given is None else given)]
    if not crops:
        raise UsageError("There is no image in an empty list.")
    return np.stack(crops)


def decode_predictions(probabilities: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Name the likeliest of ImageNet's classes for each image, in the form of `keras.applications`.

    Args:
        probabilities: Those of a network with ImageNet's 1000 classes in the order of their WordNet ids, `(images,
            1000)`: published weights have this order, and `alexnet prepare` gives it to ImageNet.
        top: The number of classes to name.

    Returns:
        For each image the likeliest classes, the likeliest first: `(WordNet id, words, probability)`.

    Raises:
        UsageError: They have another shape or are no floating-point numbers, or `top` is no whole number from 1 on.
        NotFiniteError: They are not finite.
    """
    words = imagenet_words()
    array = np.asarray(probabilities)
    if array.ndim != 2 or array.shape[1] != len(words):
        raise UsageError(f"Probabilities must be (images, {len(words)}). Received: shape={array.shape}")
    array = floating(array)
    count = whole_number("top", top, refusal=UsageError)
    check_finite(array, "The probabilities")
    classes = list(words.items())
    likeliest = np.argsort(-array, axis=1, kind="stable")[:, :count]
    pairs = zip(array, likeliest, strict=True)
    return [[(*classes[label], float(row[label])) for label in labels] for row, labels in pairs]
