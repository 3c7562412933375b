"""What Python programs hold as images: prepared as files are, or refused by a sentence."""

import io
import re
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from alexnet_keras.data.image_formats import Decoding
from alexnet_keras.data.images import Encoding
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation import image_inputs
from alexnet_keras.evaluation.image_inputs import Preparation, several, square_of

PREPARATION = Preparation(Decoding(), Encoding("png"))
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (300, 400, 4), np.uint8)
RGB, GREY = PIXELS[..., :3], PIXELS[..., 0]


class Tensor:
    """Of another framework."""

    def __init__(self, values, error=None):
        self.values, self.error = values, error

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return np.asarray(self.values, dtype)


def png(pixels, **options):
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, "PNG", **options)
    return file.getvalue()


def of_file(encoded, preparation=PREPARATION):
    return preparation.square(encoded)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (RGB, RGB),
        (RGB[::-1, :, ::-1], np.ascontiguousarray(RGB[::-1, :, ::-1])),
        (GREY, GREY),
        (GREY[..., None], GREY),
        (PIXELS, PIXELS),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(np.uint16), RGB),
        (RGB.astype(np.float32) + 0.4, RGB),
        (RGB.astype(np.float64), RGB),
        (GREY.astype(np.float16), GREY),
        (np.zeros((260, 260, 3)), np.zeros((260, 260, 3), np.uint8)),
        (tf.constant(RGB), RGB),
        (
            tf.constant(RGB, tf.bfloat16),
            np.asarray(tf.cast(tf.constant(RGB, tf.bfloat16), tf.float32)).astype(np.uint8),
        ),
        (Tensor(RGB), RGB),
        (bytearray(png(RGB)), RGB),
        (memoryview(png(RGB)), RGB),
        (np.frombuffer(png(RGB), np.uint8), RGB),
        (tf.constant(png(RGB)), RGB),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrays_and_bytes_are_prepared_as_files_are(given, same):
    np.testing.assert_array_equal(square_of(given, PREPARATION), of_file(png(same)))


PALETTE = Image.fromarray(RGB).quantize(16)
STORED = {
    "RGB": png(RGB),
    "RGBA": png(PIXELS),
    "grey": png(GREY),
    "grey and opacity": png(Image.fromarray(PIXELS[..., 2:], "LA")),
    "16 bits": png(RANDOM.integers(0, 65536, (300, 280), np.uint16)),
    "1 bit": png(Image.fromarray(GREY).convert("1")),
    "palette": png(PALETTE),
    "palette with a transparent colour": png(PALETTE, transparency=3),
    "a transparent grey": png(GREY, transparency=7),
}


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("kind", STORED)
def test_a_pillow_image_of_a_png_is_what_the_file_is_bit_for_bit(kind, loaded):
    image = Image.open(io.BytesIO(STORED[kind]))
    if loaded:
        image.load()
    np.testing.assert_array_equal(square_of(image, PREPARATION), of_file(STORED[kind]))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_pillow_image_lies_as_its_file_does_and_is_left_as_it_was(form, turned):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(file, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    preparation = Preparation(Decoding(exif=turned), Encoding("png"))
    image = Image.open(file)
    found = square_of(image, preparation).astype(int)
    assert np.abs(found - of_file(file.getvalue(), preparation)).max() <= (1 if form == "JPEG" else 0)
    if form != "TIFF":  # which Pillow itself turns when it is loaded
        assert image.size == (400, 300) and image.getexif()[0x0112] == 6


@pytest.mark.parametrize("kind", [bytes, Image.open])
def test_that_an_orientation_is_ignored_is_noted_once(kind, caplog):
    def of(value):
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = value
        Image.fromarray(RGB).save(file, "JPEG", exif=exif)
        return kind(file.getvalue()) if kind is bytes else kind(file)

    image_inputs._note_ignored_orientation.cache_clear()
    square_of(of(1), PREPARATION)
    square_of(of(6), Preparation(Decoding(exif=True)))
    assert not caplog.records
    for _ in range(2):
        square_of(of(6), PREPARATION)
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "its EXIF orientation, which phones write, is ignored" in record.message


@pytest.mark.parametrize("start", [0, 3])
def test_a_file_object_is_read_from_its_beginning(start, tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGB))
    for file in (io.BytesIO(png(RGB)), (tmp_path / "a.png").open("rb"), (tmp_path / "a.png").open("rb", buffering=0)):
        with file:
            file.seek(start)
            np.testing.assert_array_equal(square_of(file, PREPARATION), of_file(png(RGB)))


def test_a_stream_that_comes_in_pieces_is_read_to_its_end():
    class Stream:
        rest = png(RGB)

        def read(self, most):
            part, self.rest = self.rest[: min(most, 7_000)][:5_000], self.rest[min(most, 5_000) :]
            return part

    np.testing.assert_array_equal(square_of(Stream(), PREPARATION), of_file(png(RGB)))


def opened_as_text():
    with tempfile.NamedTemporaryFile() as file:
        file.write(png(RGB))
        return Path(file.name).open()


def named():
    file = io.BytesIO()
    file.name = "photo.jpg"
    return file


def closed():
    file = io.BytesIO(png(RGB))
    file.close()
    return file


UNIT = (RGB / 255).astype(np.float32)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (UNIT, "An array (300, 400, 3) of float32 is no image that can be used: its values are 0 to 1 and not"),
        (UNIT * 1.06 - 0.03, "its values are -0.03 to 1.03 and not 0..255; multiply them by 255"),
        (UNIT * 2 - 1, "its values are -1 to 1 and not 0..255, as they were in its file"),
        ((UNIT - 0.45) / 0.225, "its values are -2 to 2.444 and not 0..255, as they were in its file"),
        ((UNIT / 9 + 0.9 - 0.45) / 0.225, "its values are 2 to 2.494 and not 0..255, as they were in its file"),
        (RGB.astype(np.int32) // 255, "its values are 0 to 1 and not 0..255; multiply them by 255"),
        (RGB.astype(np.uint16) * 257, "its values are 0 to 6.554e+04 and not 0..255"),
        (RGB - 120.0, "its values are -120 to 135 and not 0..255"),
        (np.where(RGB == 3, np.nan, RGB), "it has values that are not finite"),
        (keras.KerasTensor((9, 9, 3)), "This KerasTensor is no image that can be used: A KerasTensor is symbolic"),
        (RGB > 100, "an image's values are numbers 0..255"),
        (RGB.astype(complex), "an image's values are numbers 0..255"),
        (RGB.transpose(2, 0, 1), "its channels come first; give numpy.moveaxis(array, 0, -1)"),
        (GREY[None], "its channels come first"),
        (RGB[None], "it is a batch; give its images one by one"),
        (RGB[:0], "it has no pixels"),
        (Image.new("RGB", (0, 9)), "it has no pixels"),
        (PIXELS[..., :2], "an image is (height, width), (height, width, 3) or (height, width, 4)"),
        (np.float32(3), "an image is (height, width)"),
        (np.broadcast_to(np.uint8(0), (20_000, 20_000, 3)), "20000x20000 pixels is more than 100,000,000"),
        (Image.fromarray(GREY.astype(np.float32)), "its pixels are floating-point numbers"),
        (Image.open(io.BytesIO(png(RGB)[:9000])), "image file is truncated"),
        (io.StringIO("no bytes"), "it gives text and not bytes; open it with 'rb'"),
        (opened_as_text(), "it gives text and not bytes; open it with 'rb'"),
        (io.BytesIO(), "This BytesIO is no image that can be used: empty file."),
        (named(), "photo.jpg is no image that can be used: empty file."),
        (closed(), "I/O operation on closed file."),
        (Tensor(RGB, TypeError("can't convert a tensor on cuda:0\nto numpy")), "This Tensor is no image that can be"),
        (b"GIF89a, not quite", "These bytes are no image that can be used"),
    ],
)  # fmt: skip
def test_what_is_no_plain_image_is_refused_and_not_guessed_at(given, reason):
    with pytest.raises(DataError, match=re.escape(reason)) as caught:
        square_of(given, PREPARATION)
    assert len(str(caught.value)) <= 153 and str(caught.value).endswith(".") and ".." not in str(caught.value)[-3:]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("https://example.org/a.jpg", "https://example.org/a.jpg is a URL, and nothing is fetched: download it"),
        ("s3://bucket/a.jpg", "is a URL"),
        ("data:image/png;base64," + "A" * 9999, "data:image/png;base64,A"),
        ("\x89PNG\0\0", "is no file name; give the contents of a file as bytes"),
        ("/9j/4AAQSkZJRg" * 999, "is no file name; give the contents of a file as bytes"),
        ("nowhere.jpg", "There is no file nowhere.jpg"),
        (None, "None is no image (a reader returned it for a file that it could not read); give"),
        ({"bytes": png(RGB)}, "This dict is no image; give a file's path or bytes"),
        (7, "This int is no image; give a file's path or bytes"),
    ],
)
def test_what_is_nothing_of_the_kind_is_refused(given, reason):
    with pytest.raises(UsageError, match=re.escape(reason)) as caught:
        square_of(given, PREPARATION)
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ([], 0),
        ([RGB, "a.jpg"], 2),
        ((RGB,), 1),
        (iter([RGB] * 3), 3),
        ((RGB for _ in range(2)), 2),
        ({"a.jpg", "b.jpg"}, 2),
        (np.stack([RGB] * 2), 2),
        (np.zeros((0, 9, 9, 3), np.uint8), 0),
        (tf.constant(RGB[None]), 1),
        (np.array(["a.jpg", "b.jpg"]), 2),
        (tf.data.Dataset.from_tensor_slices(RGB[None]), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_several_images(given, count):
    assert len(list(several(given))) == count


@pytest.mark.parametrize(
    "given", ["a.jpg", b"GIF", RGB, GREY, Image.new("RGB", (9, 9)), io.BytesIO(), tf.constant(RGB), None, {"a": RGB}, 7]
)
def test_what_is_one_image_or_none(given):
    assert several(given) is None
