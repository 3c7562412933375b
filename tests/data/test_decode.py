"""`fit_to_square` against pictures whose right answer is known without it."""

import io
import struct

import numpy as np
import pytest
from imagenet import as_ycck
from PIL import Image, ImageOps

from alexnet_keras.data.decode import Decoding, UnreadableImage, fit_to_square


def encode(pixels: np.ndarray | Image.Image, form: str = "PNG", **options) -> bytes:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    small = Image.fromarray(noise(3, 4))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("factor", [2, 3])
def test_shrinking_takes_the_mean_of_each_block(factor):
    pixels = noise(256 * factor, 256 * factor)
    means = pixels.reshape(256, factor, 256, factor, 3).mean(axis=(1, 3))
    found = fit_to_square(encode(pixels)).astype(float)
    assert np.abs(found - means).max() <= 0.5 + 1e-3


def test_a_picture_of_the_right_size_is_not_changed():
    pixels = noise(256, 256)
    np.testing.assert_array_equal(fit_to_square(encode(pixels)), pixels)


@pytest.mark.parametrize("height, width, top, left", [(256, 300, 0, 22), (311, 256, 27, 0)])
def test_the_centre_is_cropped(height, width, top, left):
    pixels = noise(height, width)
    np.testing.assert_array_equal(fit_to_square(encode(pixels)), pixels[top : top + 256, left : left + 256])


def test_enlarging_is_cubic():
    # Keys' cubic with a = -1/2 at half-pixel centres; doubling weighs four neighbours with these numbers.
    pixels = noise(128, 128).astype(float)
    weights = {-1: np.array([-9, 111, 29, -3]) / 128, 0: np.array([-3, 29, 111, -9]) / 128}

    def double(rows: np.ndarray) -> np.ndarray:
        out = np.zeros((2 * len(rows), *rows.shape[1:]))
        for i in range(4, 2 * len(rows) - 4):  # away from the edges, whose treatment is a convention
            phase = -(i % 2)
            start = i // 2 + (-2 if i % 2 == 0 else -1)
            out[i] = np.tensordot(weights[-1 if phase == -1 else 0], rows[start : start + 4], 1)
        return out

    expected = double(double(pixels).swapaxes(0, 1)).swapaxes(0, 1)[8:-8, 8:-8]
    found = fit_to_square(encode(pixels.astype(np.uint8))).astype(float)[8:-8, 8:-8]
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= 0.5 + 0.02  # TensorFlow's cubic is tabulated


def test_grey_scale_jpeg_has_three_equal_channels():
    grey = encode(Image.fromarray(smooth(300, 280)).convert("L"), "JPEG", quality=95)
    found = fit_to_square(grey)
    assert found.shape == (256, 256, 3)
    assert (found == found[..., :1]).all()
    assert found.std() > 10


def test_cmyk_jpeg_keeps_its_colours():
    pixels = np.full((256, 256, 3), (200, 60, 30), np.uint8)
    found = fit_to_square(encode(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - pixels).max() <= 6


def test_palette_png():
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:128] = (10, 200, 30)
    found = fit_to_square(encode(Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)))
    np.testing.assert_array_equal(found, pixels)


def test_sixteen_bit_grey_png_is_scaled_and_not_clipped():
    ramp = (np.arange(256, dtype=np.uint16) * 257)[None].repeat(256, axis=0)
    np.testing.assert_array_equal(fit_to_square(encode(ramp))[0, :, 0], np.arange(256))


@pytest.mark.parametrize("form, tolerance", [("GIF", 40), ("BMP", 0), ("WEBP", 25), ("TIFF", 0)])
def test_other_formats_whatever_the_file_is_called(form, tolerance):
    pixels = smooth(256, 256)
    assert np.abs(fit_to_square(encode(pixels, form)).astype(int) - pixels).max() <= tolerance


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("height, width", [(1, 500), (500, 1), (1, 1)])
def test_a_side_of_one_pixel(form, height, width):
    pixels = np.full((height, width, 3), 90, np.uint8)
    found = fit_to_square(encode(pixels, form))
    assert found.shape == (256, 256, 3)
    assert np.abs(found.astype(int) - 90).max() <= 1


def test_exif_orientation_is_ignored():
    pixels = smooth(256, 300)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = encode(pixels, "JPEG"), encode(pixels, "JPEG", exif=exif)
    np.testing.assert_array_equal(fit_to_square(plain), fit_to_square(turned))


@pytest.mark.parametrize("form, options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
def test_a_file_cut_short_is_refused(form, options, keep):
    whole = encode(smooth(300, 300), form, **options)
    with pytest.raises(UnreadableImage):
        fit_to_square(whole[: int(len(whole) * keep)])


@pytest.mark.parametrize("contents, reason", [(b"", "empty"), (b"not a picture", "not a picture")])
def test_other_files_are_refused_with_the_reason(contents, reason):
    with pytest.raises(UnreadableImage, match=reason):
        fit_to_square(contents)


def test_postscript_is_not_run():
    with pytest.raises(UnreadableImage, match="not a picture"):
        fit_to_square(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n%%EOF\n")


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_memory_is_taken():
    whole = encode(smooth(300, 300), "JPEG")
    size = whole.index(b"\xff\xc0") + 5
    huge = whole[:size] + struct.pack(">HH", 60_000, 60_000) + whole[size + 4 :]
    with pytest.raises(UnreadableImage, match="more than 100,000,000"):
        fit_to_square(huge)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_the_limit_on_pixels_can_be_chosen_and_holds_for_every_format(form):
    picture = encode(smooth(300, 300), form)
    with pytest.raises(UnreadableImage, match="300x300 pixels is more than 89,700"):
        fit_to_square(picture, Decoding(max_pixels=300 * 299))
    assert fit_to_square(picture, Decoding(max_pixels=300 * 300)).shape == (256, 256, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured_where_asked_for(form, orientation):
    pixels = smooth(301, 280) if orientation < 5 else smooth(280, 301)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    turned = encode(pixels, form, exif=exif, **lossless)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))).convert("RGB"))
    found = fit_to_square(turned, Decoding(exif=True))
    np.testing.assert_array_equal(found, fit_to_square(encode(upright)))


def test_damaged_exif_data_does_not_cost_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encode(smooth(300, 280), "JPEG", exif=exif)
    start = whole.index(b"Exif")
    damaged = whole[: start + 6] + b"\xff" * 20 + whole[start + 26 :]
    np.testing.assert_array_equal(fit_to_square(damaged, Decoding(exif=True)), fit_to_square(damaged))


def test_a_progressive_jpeg_is_the_same_picture_as_a_baseline_one():
    pixels = smooth(300, 400)
    np.testing.assert_array_equal(
        fit_to_square(encode(pixels, "JPEG", progressive=True)), fit_to_square(encode(pixels, "JPEG"))
    )


def test_ycck_jpeg_keeps_its_colours():
    pixels = np.full((256, 256, 3), (200, 60, 30), np.uint8)
    pixels[:, 128:] = (20, 90, 220)
    encoded = as_ycck(pixels)
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.mode == "CMYK"
        assert picture.info["adobe_transform"] == 2
        np.testing.assert_allclose(np.asarray(picture.convert("RGB")), pixels, atol=8)
    np.testing.assert_allclose(fit_to_square(encoded), pixels, atol=8)
