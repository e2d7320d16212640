"""FeatureModels that see the truth in the picture itself: benchmarks are tested apart from any trained network."""

import numpy as np

from sab3r_ros.types import View

CELL = 16  # pixels: the crop's multiple, as a network's patch


def painted(values):
    """(H, W) whole numbers below 256 → an image (H, W, 3) whose red channel holds them."""
    return np.stack([values.astype(np.uint8)] + [np.zeros(values.shape, np.uint8)] * 2, -1)


class PaintedModel:
    """Reads depth (metres) and class (one-hot features) off the red channel; keeps the size, crops to whole patches."""

    monocular, identity, language = True, "painted", "numbers"

    def __init__(self, classes=50, stride=1):
        self.feature_basis, self.stride = np.eye(classes, dtype=np.float32), stride

    def prepare(self, image, K=None):
        h, w = (side // CELL * CELL for side in image.shape[:2])
        top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
        K = None if K is None else K - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        return image[top : top + h, left : left + w], K

    def encode(self, image):
        z = image[..., 0].astype(np.float32)
        cells = image[:: self.stride, :: self.stride, 0].astype(int)
        features = np.eye(len(self.feature_basis), dtype=np.float16)[cells % len(self.feature_basis)]
        return View(
            np.stack([0 * z, 0 * z, z], -1), np.ones_like(z), np.zeros((0,)), np.zeros((0,)), features
        )

    def decode(self, first, second):
        return first, second


class Numbers:
    """The text space of PaintedModel: the word "7" is class 7; any other word is nothing."""

    space, spread = "numbers", 1.0

    def __init__(self, classes=50):
        self.dim = classes

    def encode(self, phrases):
        return np.stack(
            [np.eye(self.dim)[int(p)] if p.isdigit() else np.zeros(self.dim) for p in phrases]
        ).astype(np.float32)
