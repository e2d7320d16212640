"""From a camera's image to the network's: long side to a fixed length, centre crop to whole patches."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from sab3r_ros.errors import ImageError
from sab3r_ros.model.resample import resize

SMALLEST_SIDE = 16  # pixels of a camera image; less holds nothing to map
MOST_ELONGATED = 4.0  # longer over shorter side


def check_image(image: np.ndarray) -> None:
    """Raises ImageError unless image is (H, W, 3) uint8, of usable size and shape."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"an image must be an RGB array (H, W, 3) of uint8, not {what}: convert it first")
    h, w = image.shape[:2]
    if min(h, w) < SMALLEST_SIDE or max(h, w) > MOST_ELONGATED * min(h, w):
        raise ImageError(
            f"an image of {w} × {h} pixels cannot be mapped: sides of at least {SMALLEST_SIDE} pixels "
            f"and of a ratio up to {MOST_ELONGATED:g} can"
        )


def fit(
    image: np.ndarray, K: np.ndarray | None, long_side: int, multiple: int, as_published: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scale the longer side to `long_side` pixels and crop the centre to multiples of `multiple`.

    image: (H, W, 3) uint8 RGB. K: (3, 3) pixels of that image (centres at integers), or None; both are
    returned for the new image. as_published: as the public networks were trained, by Lanczos down and bicubic up,
    and a square becomes landscape; else areas are averaged on the way down, as the embedded network was trained.
    Raises ImageError.
    """
    check_image(image)
    h, w = image.shape[:2]
    scale = long_side / max(h, w)
    size = tuple(max(round(side * scale), multiple) for side in (w, h))  # (width, height)
    if size != (w, h):
        if as_published:
            image = resize(image, size)
        else:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    crop = [side // multiple * multiple for side in size]
    if as_published and crop[0] == crop[1]:
        crop[1] = crop[0] * 3 // 4 // multiple * multiple
    left, top = (size[0] - crop[0]) // 2, (size[1] - crop[1]) // 2
    image = np.ascontiguousarray(image[top : top + crop[1], left : left + crop[0]])
    if K is None:
        return image, None
    ratio = np.array([size[0] / w, size[1] / h])
    out = np.diag([*ratio, 1.0]) @ np.asarray(K, np.float64)
    out[:2, 2] += 0.5 * (ratio - 1) - np.array([left, top])
    return image, out


def to_tensor(image: np.ndarray, device: torch.device) -> torch.Tensor:
    """(H, W, 3) uint8 → (1, 3, H, W) float32 in −1..1, channels last."""
    return torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float().div_(127.5).sub_(1)
