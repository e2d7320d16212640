"""What a network says of its own, smaller and cropped image, brought back to the camera's pixels."""

from __future__ import annotations

import cv2
import numpy as np

from sab3r_ros.model.feature_model import Encoding, FeatureModel


class SeenImage:
    """An image as one model saw it. encoding: the model's. size: (H, W) of the camera's image."""

    def __init__(self, model: FeatureModel, image: np.ndarray) -> None:
        """image: (H, W, 3) uint8 RGB. Raises ImageError."""
        self.size = image.shape[0], image.shape[1]
        prepared, A = model.prepare(image, np.eye(3))  # intrinsics move as pixels do: the identity's tell how
        self.encoding: Encoding = model.encode(prepared)
        self._grids: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        h, w = prepared.shape[:2]
        self._u = (A[0, 0] * np.arange(self.size[1]) + A[0, 2] + 0.5) / w  # 0..1 inside what the network saw
        self._v = (A[1, 1] * np.arange(self.size[0]) + A[1, 2] + 0.5) / h

    @property
    def covered(self) -> np.ndarray:
        """(H, W) bool: pixels that the network's crop kept."""
        inside = [(x >= 0) & (x <= 1) for x in (self._v, self._u)]
        return inside[0][:, None] & inside[1][None, :]

    def at_pixels(self, values: np.ndarray) -> np.ndarray:
        """A map over the network's image, (h, w) or (h, w, C) of any stride → (H, W) or (H, W, C), bilinear.

        Pixels that the crop left out take the nearest value.
        """
        u, v = self._grid(*values.shape[:2])
        return cv2.remap(
            np.ascontiguousarray(values), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )

    def _grid(self, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
        if (h, w) not in self._grids:
            u, v = np.meshgrid(self._u * w - 0.5, self._v * h - 0.5)
            self._grids[h, w] = u.astype(np.float32), v.astype(np.float32)
        return self._grids[h, w]
