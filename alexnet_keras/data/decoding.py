"""Choices in decoding a picture, and the error of one that cannot be decoded."""

from dataclasses import dataclass
from typing import Any

MAX_PIXELS = 100_000_000  # a picture this large takes 1 GB to decode; more is refused unread


class UnreadableImage(Exception):
    """The bytes are no picture that can be used; the message is the reason."""


@dataclass(frozen=True)
class Decoding:
    """Choices in decoding.

    Attributes:
        max_pixels: A picture with more is refused before it is decoded.
        exif: Turn pictures as their EXIF orientation says.
    """

    max_pixels: int = MAX_PIXELS
    exif: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What two preparations have to agree in."""
        return {"max_pixels": self.max_pixels, "exif": self.exif}
