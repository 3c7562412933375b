"""Pages that need nothing but themselves: figures inside them, no script, nothing to fetch, every text escaped."""

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

from alexnet_keras.visualization.style import RIGHT, SERIES, WRONG

PHOTOGRAPH_QUALITY = 88  # of JPEG: a third of the size of 95, and no difference that shows at this size
SHARPNESS = 2  # pixels of a drawing for each one of the page, for screens that have as many, and for paper


@dataclass(frozen=True)
class EmbeddedImage:
    """An image inside a page.

    Attributes:
        source: A data: URI.
        width, height: Its size on the page, CSS pixels.
        alt: What is seen, for whoever does not see it.
    """

    source: str
    width: int
    height: int
    alt: str


def photograph(image: np.ndarray, side: int, alt: str) -> EmbeddedImage:
    """A square image as JPEG.

    Args:
        image: uint8 `(height, width, 3)`, RGB.
        side: what it is scaled down to, pixels; a smaller one stays as it is.
    """
    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    thumbnail.save(file, "JPEG", quality=PHOTOGRAPH_QUALITY, optimize=True)
    return EmbeddedImage(_data_uri("jpeg", file.getvalue()), *thumbnail.size, alt)


def drawing(draw: Callable[[Path], None], alt: str) -> EmbeddedImage:
    """What one of the `draw_...` functions writes, as PNG.

    Args:
        draw: writes the image to the path it is given.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawing.png"
        draw(path)
        return image_file(path, alt)


def image_file(path: Path, alt: str) -> EmbeddedImage:
    """A drawing that is there as a file, as PNG.

    Raises:
        OSError: it is missing, or no image.
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    width, height = (side // SHARPNESS for side in image.size)
    return EmbeddedImage(_data_uri("png", file.getvalue()), width, height, alt)


def percent(share: float, digits: int = 1) -> str:
    """0.0767 as "7.7 %", with a space that does not break."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def render(template: str, values: dict[str, Any]) -> str:
    """A page from a Jinja template of this folder; whatever is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "count": lambda number: f"{number:,}"}
    colors = {"right": RIGHT, "wrong": WRONG, "accent": SERIES[0]}
    return environment.get_template(template).render(**values, colors=colors)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
