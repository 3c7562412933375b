"""Published files with weights, recognised by their checksums, and the accuracy that was published with them."""

from dataclasses import dataclass
from pathlib import Path

from alexnet_keras.files import sha1_of, sha256_of


@dataclass(frozen=True)
class KnownFile:
    """A published file.

    Attributes:
        name: Its name.
        sha: The checksum, or its beginning, that was published with it.
        top1, top5: Accuracy on ImageNet 2012's validation pictures, centre crop, 0..1.
        source: Where both are published.
    """

    name: str
    sha: str
    top1: float
    top5: float
    source: str


KNOWN_BY_SHA1 = (
    KnownFile(
        "bvlc_alexnet.caffemodel",
        "9116a64c0fbe4459d18f4bb6b56d647b63920377",
        0.571,
        0.802,
        "github.com/BVLC/caffe, models/bvlc_alexnet/readme.md",
    ),
    KnownFile(
        "bvlc_reference_caffenet.caffemodel",
        "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        0.574,
        0.804,
        "github.com/BVLC/caffe, models/bvlc_reference_caffenet/readme.md",
    ),
)
KNOWN_BY_SHA256 = (
    # torchvision names files after the beginning of their checksum
    KnownFile("alexnet-owt-7be5be79.pth", "7be5be79", 0.56522, 0.79066, "pytorch.org/vision, AlexNet_Weights"),
)


def checksums(path: Path) -> dict[str, str]:
    """A file's checksums, hex, by their names."""
    return {"sha1": sha1_of(path), "sha256": sha256_of(path)}


def known_file(sha1: str, sha256: str) -> KnownFile | None:
    """The published file with these checksums, if it is known."""
    for checksum, known in ((sha1, KNOWN_BY_SHA1), (sha256, KNOWN_BY_SHA256)):
        for file in known:
            if checksum.startswith(file.sha):
                return file
    return None
