"""Every kind of file that people have among their images: read, or refused by its name."""

import importlib
import io
import struct

import numpy as np
import pytest
from PIL import Image, features
from test_decoding import encode, smooth

from alexnet_keras.data import image_formats
from alexnet_keras.data.image_formats import Decoding, UnreadableImage
from alexnet_keras.data.images import SUFFIXES, fit_to_square, is_image

avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow does not read AVIF")
BLACK = Image.new("RGB", (300, 256))


def heic(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    pytest.importorskip("pillow_heif").from_pillow(image).save(file, quality=95, **options)
    return file.getvalue()


def encoded_as(form: str, image: Image.Image, **options) -> bytes:
    return heic(image, **options) if form == "HEIC" else encode(image, form, **options)


NEWER = [pytest.param("AVIF", marks=avif), "HEIC", "JPEG2000"]


@pytest.mark.parametrize("form", NEWER)
def test_newer_formats_are_read_and_their_size_is_looked_at_before(form):
    pixels = smooth(256, 300)
    whole = encoded_as(form, Image.fromarray(pixels))
    assert is_image(whole[:32])
    assert np.abs(fit_to_square(whole).astype(int) - pixels[:, 22:278]).mean() < 2
    with pytest.raises(UnreadableImage, match="300x256 pixels is more than 76,799"):
        fit_to_square(whole, Decoding(max_pixels=300 * 256 - 1))
    for keep in (0.1, 0.5, 0.95):
        with pytest.raises(UnreadableImage, match="damaged or cut short"):
            fit_to_square(whole[: int(len(whole) * keep)])


@pytest.mark.parametrize("form", NEWER)
def test_a_newer_format_that_claims_to_be_huge_is_refused_before_memory_is_taken(form):
    whole = encoded_as(form, Image.fromarray(smooth(256, 300)))
    size = struct.pack(">II", 300, 256)
    assert whole.count(size) or form == "JPEG2000"
    huge = whole.replace(size, struct.pack(">II", 12_000, 12_000)).replace(
        struct.pack(">II", 256, 300), struct.pack(">II", 12_000, 12_000)
    )
    with pytest.raises(UnreadableImage, match=r"12000x12000 pixels is more than 100,000,000"):
        fit_to_square(huge)


@pytest.mark.parametrize("no_jp2", [False, True])
def test_a_jpeg_2000_of_very_many_tiles_takes_no_memory(no_jp2):
    whole = bytearray(encode(Image.fromarray(smooth(256, 300)), "JPEG2000", no_jp2=no_jp2))
    place = whole.index(b"\xff\x4f\xff\x51") + 24
    assert struct.unpack_from(">II", whole, place) == (300, 256)  # the size of a tile
    struct.pack_into(">II", whole, place, 100, 256)
    assert fit_to_square(bytes(whole)).shape == (256, 256, 3)
    struct.pack_into(">II", whole, place, 2, 1)
    with pytest.raises(UnreadableImage, match="38,400 tiles, and more than 10,000 take more memory"):
        fit_to_square(bytes(whole))


@pytest.mark.parametrize("form", NEWER[:2])
@pytest.mark.parametrize("turned", [False, True])
def test_avif_and_heic_lie_as_their_boxes_say(form, turned):
    pixels = smooth(300, 256)
    exif = Image.Exif()
    exif[0x0112] = 6  # which both store as a rotation of the image itself
    found = fit_to_square(encoded_as(form, Image.fromarray(pixels), exif=exif.tobytes()), Decoding(exif=turned))
    assert np.abs(found.astype(int) - np.rot90(pixels, -1)[:, 22:278]).mean() < 2


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO", pytest.param("AVIF", marks=avif)])
def test_of_several_images_in_a_file_the_first_is_taken(form):
    pixels = smooth(256, 300)
    found = fit_to_square(encode(Image.fromarray(pixels), form, save_all=True, append_images=[BLACK]))
    assert np.abs(found.astype(int) - pixels[:, 22:278]).mean() < 8


def tiff(order: str = "<", pixels: bytes = bytes(65536), **extra: int) -> bytes:
    """A grey TIFF of 256x256 with further tags of one whole number, `tag_254=1`."""
    tags = {256: 256, 257: 256, 258: 8, 259: 1, 262: 1, 273: 1024, 277: 1, 278: 256, 279: len(pixels)}
    tags |= {int(name.removeprefix("tag_")): value for name, value in extra.items()}
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 12) + bytes(4)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return (start + directory).ljust(1024, b"\0") + pixels


@pytest.mark.parametrize(
    "tags", [{"tag_50706": 0x401}, {"tag_254": 1, "tag_330": 512}, {"tag_262": 32803}, {"tag_262": 34892}]
)
@pytest.mark.parametrize("order", "<>")
def test_a_cameras_raw_file_is_not_taken_for_its_thumbnail(tags, order):
    assert (fit_to_square(tiff(order)) == 0).all()
    assert (fit_to_square(tiff(order, tag_254=0, tag_330=512)) == 0).all()  # smaller copies of this image
    with pytest.raises(UnreadableImage, match="a camera's raw file is not read; save it as JPEG or PNG"):
        fit_to_square(tiff(order, **tags))


RAMP = np.arange(256)[None].repeat(256, axis=0)


def of_12_bits(levels: np.ndarray) -> bytes:
    """Two pixels in three bytes."""
    first, second = levels[:, ::2], levels[:, 1::2]
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("orientation", [1, 3])
@pytest.mark.parametrize(
    "encoded, white_is_zero",
    [
        (lambda **tags: tiff(pixels=of_12_bits(RAMP * 16 + 15), tag_258=12, **tags), False),
        (lambda **tags: tiff(pixels=(RAMP * 257).astype("<u2").tobytes(), tag_258=16, **tags), False),
        (lambda **tags: tiff(">", (RAMP * 257).astype(">u2").tobytes(), tag_258=16, **tags), False),
        (lambda **tags: tiff(pixels=(RAMP * 257).astype("<u2").tobytes(), tag_258=16, tag_262=0, **tags), True),
        (lambda **tags: tiff(pixels=RAMP.astype(np.uint8).tobytes(), tag_262=0, **tags), True),
    ],
    ids=["12 bits", "16 bits", "16 bits, big-endian", "16 bits, white is 0", "8 bits, white is 0"],
)
def test_a_tiff_has_the_levels_that_it_defines(encoded, white_is_zero, orientation):
    found = fit_to_square(encoded(tag_274=orientation))
    expected = 255 - RAMP if white_is_zero else RAMP
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, axis=2))


def test_a_tiff_of_signed_numbers_has_no_white_level():
    with pytest.raises(UnreadableImage, match="its pixels are signed numbers, which do not define a white level"):
        fit_to_square(tiff(pixels=bytes(2 * 65536), tag_258=16, tag_339=2))


def test_a_raw_file_of_canon_is_one_by_its_mark():
    with pytest.raises(UnreadableImage, match="a camera's raw file"):
        fit_to_square(tiff()[:8] + b"CR\2\0" + tiff()[12:])


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\xff\x0a\xfa\x7f", "JPEG XL is not read; save it as JPEG or PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not read"),
        (b"8BPS\0\1", r"a Photoshop document \(PSD\) is not read"),
        (b"\0\0\1\0\1\0", r"an icon \(ICO\) is not read"),
        (b"\xef\xbb\xbf<svg xmlns=", "an SVG drawing is not read"),
        (b"<?xml version='1.0'?>", "an XML file, such as an SVG drawing, is not read"),
        (b"%PDF-1.7", "a PDF document is not read"),
        (b"%!PS-Adobe-3.0", "PostScript is not read"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file is not read"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw file is not read"),
        (b"IIU\0\x18\0\0\0", "a camera's raw file is not read"),
        (b"\n<!DOCTYPE HTML><html>", "not a picture but a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "not a picture but a pointer of Git LFS: `git lfs pull`"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "not a picture but a film"),
        (b"RIFF\0\0\0\0AVI LIST", "not a picture but a film"),
        (b"\x93NUMPY\1\0", "not a picture but a NumPy array"),
        (b"PK\3\4", "not a picture but a ZIP archive"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(start, reason):
    with pytest.raises(UnreadableImage, match=f"^{reason}"):
        fit_to_square(start + bytes(40))


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1miafheic", b"msf1\0\0\0\0msf1hevc"])
def test_heic_without_its_library_names_it(brands, monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    start = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands
    assert not image_formats.openers(start)
    with pytest.raises(UnreadableImage, match=r"HEIC needs pillow-heif: pip install 'alexnet-keras\[heic\]'"):
        fit_to_square(start)


def test_avif_that_pillow_does_not_read_says_what_does(monkeypatch):
    Image.init()
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    with pytest.raises(UnreadableImage, match=r"AVIF needs a Pillow that reads it, such as 11\.3"):
        fit_to_square(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(40))


def test_pillow_is_left_as_it_was():
    fit_to_square(heic(BLACK))
    assert "HEIF" not in Image.OPEN


def test_the_suffixes_of_every_format_that_is_read_are_known():
    Image.init()
    of_formats = {suffix for suffix, form in Image.EXTENSION.items() if form in (*image_formats.FORMATS, "MPO")}
    assert of_formats - {".pfm"} <= SUFFIXES  # whose numbers do not define a white level
    assert {".heic", ".heif", ".hif", ".avif"} <= SUFFIXES == {suffix.lower() for suffix in SUFFIXES}
