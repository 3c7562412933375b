"""Pages from Jinja templates; an HTML page contains its figures, no script, and nothing that has to be fetched."""

import base64
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

VIEWS = {"centre": "centre crop", "ten-crop": "ten crops"}  # in words
PHOTOGRAPH_QUALITY = 88  # of JPEG: a third of the size of 95, and no difference that shows at this size
SHARPNESS = 2  # pixels of a figure per CSS pixel, for dense screens and for paper


@dataclass(frozen=True)
class EmbeddedImage:
    """An image inside a page.

    Attributes:
        source: A data: URI.
        width, height: Its size on the page, CSS pixels.
        alt: Its description for those who do not see it.
    """

    source: str
    width: int
    height: int
    alt: str


def photograph(image: np.ndarray, side: int, alt: str) -> EmbeddedImage:
    """Embed an image uint8 `(height, width, 3)`, RGB, as JPEG, its longer side `side` pixels at most."""
    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((side, side), Image.Resampling.LANCZOS)
    return EmbeddedImage(_data_uri(thumbnail, "JPEG", quality=PHOTOGRAPH_QUALITY), *thumbnail.size, alt)


def lossless(image: np.ndarray, alt: str) -> EmbeddedImage:
    """Embed an image uint8 `(height, width, 3)`, RGB, as PNG, one CSS pixel for each of its own."""
    picture = Image.fromarray(image)
    return EmbeddedImage(_data_uri(picture, "PNG", optimize=False), *picture.size, alt)  # somebody waits for it


def drawing(draw: Callable[[Path], None], alt: str) -> EmbeddedImage:
    """Embed a figure as PNG: `draw` writes it to the path it gets."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawing.png"
        draw(path)
        return image_file(path, alt)


def image_file(path: Path, alt: str) -> EmbeddedImage:
    """Embed a figure that is in a file, as PNG.

    Raises:
        OSError: The file is missing, or no image.
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = (side // SHARPNESS for side in image.size)
    return EmbeddedImage(_data_uri(image, "PNG"), width, height, alt)


def percent(share: float) -> str:
    """Format 0.0767 as "7.7 %", with a space that does not break."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def templates(*folders: Path, **settings: Any) -> jinja2.Environment:
    """Return the environment of this folder's templates, and of other folders' with further settings of Jinja's."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, *folders], encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **settings,
    )
    environment.filters |= {"percent": percent, "count": lambda number: f"{number:,}"}
    return environment


def render(template: str, values: dict[str, Any], *folders: Path) -> str:
    """Make an HTML page from a template of this folder or of others; every value is escaped."""
    from alexnet_keras.visualization.style import RIGHT, SERIES, WRONG  # Matplotlib, which a model card does not need

    colors = {"right": RIGHT, "wrong": WRONG, "accent": SERIES[0]}
    return templates(*folders, autoescape=True).get_template(template).render(**values, colors=colors)


def _data_uri(image: Image.Image, form: str, **settings: Any) -> str:
    file = io.BytesIO()
    image.save(file, form, **{"optimize": True, **settings})
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
