"""torchvision's alexnet in PyTorch, written here; for tests that have PyTorch."""

import pytest


def torch_alexnet(filters=(64, 192, 384, 256, 256), dense=(4096, 4096, 1000)):
    """The network with so many filters and neurons, in evaluation, with PyTorch's initial weights."""
    torch = pytest.importorskip("torch")
    from torch import nn

    c1, c2, c3, c4, c5 = filters
    torch.manual_seed(0)

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, c1, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
                nn.Conv2d(c1, c2, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
                nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(),
                nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(),
                nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
            )  # fmt: skip
            self.classifier = nn.Sequential(
                nn.Dropout(), nn.Linear(c5 * 36, dense[0]), nn.ReLU(),
                nn.Dropout(), nn.Linear(dense[0], dense[1]), nn.ReLU(),
                nn.Linear(dense[1], dense[2]),
            )  # fmt: skip

        def forward(self, x):
            return self.classifier(self.features(x).flatten(1))

    return Plain().eval()


def torch_logits(network, images):
    """Logits of crops uint8 `(n, 224, 224, 3)`, prepared as torchvision prepares them."""
    import torch

    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        return network((torch.from_numpy(images.transpose(0, 3, 1, 2).copy()) / 255 - mean) / std).numpy()
