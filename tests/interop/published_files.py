"""Small files in the place of published ones, in the cache where PyTorch keeps them."""

from dataclasses import replace

from alexnet_keras.storage.files import sha256_of
from alexnet_keras.weights.published import PUBLISHED


def publish_torchvision(patch, home, write, **changed):
    """Makes the file that `write(path)` writes torchvision's published one, with its real length and checksum.

    Args:
        patch: pytest's monkeypatch.
        home: The directory of PyTorch, TORCH_HOME.
        changed: Other fields of its `PublishedFile`.

    Returns:
        The file's path in that directory.
    """
    file = PUBLISHED["torchvision"]
    path = home / "hub" / "checkpoints" / file.name
    path.parent.mkdir(parents=True)
    write(path)
    facts = {"sha": sha256_of(path)[:8], "bytes": path.stat().st_size, **changed}
    patch.setitem(PUBLISHED, "torchvision", replace(file, **facts))
    patch.setenv("TORCH_HOME", str(home))
    return path
