"""`fit_to_square` against images whose right answer is known without it."""

import io
import os
import struct
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from imagenet import as_ycck
from PIL import Image, ImageOps

from alexnet_keras.data.image_formats import Decoding, UnreadableImage
from alexnet_keras.data.images import fit_to_square, orientation, read_image_file


def encode(pixels: np.ndarray | Image.Image, form: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, form, **options)
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


def test_an_image_of_the_right_size_is_not_changed():
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


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_memory_is_taken():
    whole = encode(smooth(300, 300), "JPEG")
    size = whole.index(b"\xff\xc0") + 5
    huge = whole[:size] + struct.pack(">HH", 60_000, 60_000) + whole[size + 4 :]
    with pytest.raises(UnreadableImage, match="more than 100,000,000"):
        fit_to_square(huge)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_the_limit_on_pixels_can_be_chosen_and_holds_for_every_format(form):
    image = encode(smooth(300, 300), form)
    with pytest.raises(UnreadableImage, match="300x300 pixels is more than 89,700"):
        fit_to_square(image, Decoding(max_pixels=300 * 299))
    assert fit_to_square(image, Decoding(max_pixels=300 * 300)).shape == (256, 256, 3)


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


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_is_read_where_a_file_has_one_and_nowhere_else(form, order):
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112] = "a camera", 8
    turned, plain = encode(smooth(60, 50), form, exif=exif), encode(smooth(60, 50), form, comment=b"Exif eXIf")
    assert (orientation(turned), orientation(plain)) == (1 if form == "GIF" else 8, 1)
    assert Image.open(io.BytesIO(turned)).getexif().get(0x0112, 1) == orientation(turned)
    for length in range(len(turned)):
        assert orientation(turned[:length]) in (1, 8)
    for seed in range(200):  # damaged in four places, most of them near the start
        random = np.random.default_rng(seed)
        damaged = bytearray(turned)
        for at in random.integers(4, 120, 4):
            damaged[at] = random.integers(256)
        assert orientation(bytes(damaged)) in range(1, 9)


def test_damaged_exif_data_does_not_cost_the_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encode(smooth(300, 280), "JPEG", exif=exif)
    start = whole.index(b"Exif")
    damaged = whole[: start + 6] + b"\xff" * 20 + whole[start + 26 :]
    np.testing.assert_array_equal(fit_to_square(damaged, Decoding(exif=True)), fit_to_square(damaged))


def test_a_progressive_jpeg_is_the_same_image_as_a_baseline_one():
    pixels = smooth(300, 400)
    np.testing.assert_array_equal(
        fit_to_square(encode(pixels, "JPEG", progressive=True)), fit_to_square(encode(pixels, "JPEG"))
    )


def test_ycck_jpeg_keeps_its_colours():
    pixels = np.full((256, 256, 3), (200, 60, 30), np.uint8)
    pixels[:, 128:] = (20, 90, 220)
    encoded = as_ycck(pixels)
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.mode == "CMYK"
        assert image.info["adobe_transform"] == 2
        np.testing.assert_allclose(np.asarray(image.convert("RGB")), pixels, atol=8)
    np.testing.assert_allclose(fit_to_square(encoded), pixels, atol=8)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "GIF"])
def test_what_is_transparent_is_laid_on_white(form):
    pixels = np.zeros((256, 256, 4), np.uint8)
    pixels[..., 0] = 200  # red, of which the left half cannot be seen
    pixels[:, 128:, 3] = 255
    options = {"lossless": True} if form == "WEBP" else {}
    found = fit_to_square(encode(Image.fromarray(pixels), form, **options))
    assert (found[:, :128] == 255).all()
    np.testing.assert_array_equal(found[:, 128:], np.broadcast_to([200, 0, 0], (256, 128, 3)))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_half_transparent_pixels_are_mixed_with_white_to_the_nearest_level(form):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (256, 256, 4), np.uint8)
    color, opacity = pixels[..., :3].astype(float), pixels[..., 3:] / 255
    found = fit_to_square(encode(Image.fromarray(pixels), form))
    np.testing.assert_allclose(found, color * opacity + 255 * (1 - opacity), atol=0.5 + 1e-9)


def test_grey_with_opacity_and_a_palette_with_a_transparent_colour():
    grey = np.zeros((256, 256, 2), np.uint8)
    grey[:, 128:, 1] = 255
    found = fit_to_square(encode(Image.fromarray(grey, "LA")))
    assert (found[:, :128] == 255).all() and (found[:, 128:] == 0).all()
    palette = Image.new("P", (256, 256), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.paste(0, (0, 0, 128, 256))
    found = fit_to_square(encode(palette, transparency=0))
    assert (found[:, :128] == 255).all() and (found[:, 128:] == [40, 50, 60]).all()
    assert (fit_to_square(encode(palette))[:, :128] == [10, 20, 30]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("turned", [False, True])
def test_a_tiffs_orientation_counts_where_that_of_a_jpeg_does(orientation, turned):
    pixels = smooth(256, 300)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = fit_to_square(encode(image, "TIFF", exif=exif), Decoding(exif=turned))
    expected = encode(image, exif=exif)  # as PNG, of which the other decoder takes care
    np.testing.assert_array_equal(found, fit_to_square(expected, Decoding(exif=turned)))
    if not turned:
        np.testing.assert_array_equal(found, pixels[:, 22:278])


def pgm(levels: np.ndarray, most: int) -> bytes:
    height, width = levels.shape
    return f"P5 {width} {height} {most} ".encode() + levels.astype(">u2").tobytes()


def test_sixteen_bit_grey_pgm_and_tiff_are_scaled():
    ramp = (np.arange(256, dtype=np.uint16) * 257)[None].repeat(256, axis=0)
    for encoded in (pgm(ramp, 65535), encode(Image.fromarray(ramp), "TIFF")):
        np.testing.assert_array_equal(fit_to_square(encoded)[0, :, 0], np.arange(256))


@pytest.mark.parametrize(("kind", "words"), [(np.int32, "numbers of 32 bits"), (np.float32, "floating-point numbers")])
def test_pixels_that_do_not_say_what_is_white_are_refused(kind, words):
    image = Image.fromarray(np.linspace(0, 1000, 256 * 256).reshape(256, 256).astype(kind))
    with pytest.raises(UnreadableImage, match=f"its pixels are {words}, which do not define a white level"):
        fit_to_square(encode(image, "TIFF"))


def test_a_tiff_with_a_field_of_the_wrong_type_is_refused():
    content = bytearray(encode(smooth(64, 64), "TIFF"))
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    for number in range(count):
        for kind in (2, 5, 7, 12, 200):  # text, fractions, bytes, floating point, none at all
            damaged = bytearray(content)
            struct.pack_into("<H", damaged, start + 2 + 12 * number + 2, kind)
            try:
                fit_to_square(bytes(damaged))
            except UnreadableImage as error:
                assert str(error)


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP of a few bytes that claims to be an animation of this size."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + sides
    animation = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(animation)) + b"WEBP" + extended + animation


def test_a_canvas_that_no_webp_fills_takes_no_memory():
    for size in ((8_000_000, 12), (12, 8_000_000)):
        with pytest.raises(UnreadableImage, match="a WebP has 16383 a side at most"):
            fit_to_square(webp_canvas(*size))
    with pytest.raises(UnreadableImage, match=r"pixels of this kind take 1\.9 GB to decode"):
        fit_to_square(webp_canvas(16_000, 6_000))


def test_the_limit_of_pillow_is_left_alone_and_ours_is_the_one_that_counts(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    pixels = smooth(256, 256)
    bmp = encode(pixels, "BMP")
    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in pool.map(fit_to_square, [bmp] * 40):
            np.testing.assert_array_equal(found, pixels)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_file_takes_no_more_memory_than_it_has_bytes(tmp_path):
    file = tmp_path / "small.jpg"
    file.write_bytes(encode(smooth(8, 8), "JPEG"))
    tracemalloc.start()
    try:
        assert read_image_file(file) == file.read_bytes()
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_limit_of_pixels_can_be_any_number():
    encoded = encode(smooth(300, 300), "JPEG")
    np.testing.assert_array_equal(fit_to_square(encoded, Decoding(max_pixels=10**30)), fit_to_square(encoded))


def test_what_is_no_image_is_not_read_whole(tmp_path):
    film = tmp_path / "film.jpg"
    with film.open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(20 * 2**30)  # without taking any space
    assert len(read_image_file(film)) < 100
    long = tmp_path / "long.jpg"
    with long.open("wb") as file:
        file.write(encode(smooth(8, 8), "JPEG"))
        file.truncate(20 * 2**30)
    with pytest.raises(OSError, match="20,480 MiB, more than any picture has"):
        read_image_file(long)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "link.jpg", "zero.jpg"):
        with pytest.raises(OSError, match="not a plain file"):
            read_image_file(tmp_path / name)
