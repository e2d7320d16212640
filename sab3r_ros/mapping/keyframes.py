"""Which frames become keyframes, judged before the network sees them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sab3r_ros.config import MapperConfig
from sab3r_ros.errors import ImageError
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.types import Frame

FLOW_WIDTH = 320  # pixels: the image in which motion is measured
CORNERS = 200
LEAST_TRACKED = 0.35  # of the corners: below it the view has changed enough, whatever the rest moved


@dataclass
class Keyframe:
    """A frame that the map is made of. image, K: as the model prepared them; encoding: the model's, computed once.

    T_WK: where its own-frame pointmap stands in the map (the similarity's scale is the pointmap's), None until aligned.
    T_OC: see `Frame`.
    """

    id: int
    stamp: float
    image: np.ndarray
    K: np.ndarray | None
    encoding: object
    T_WK: Sim3 | None = None
    T_OC: np.ndarray | None = None


@dataclass(frozen=True)
class Decision:
    """Whether a frame becomes a keyframe, and why in words."""

    accepted: bool
    reason: str


def check_image(image: np.ndarray) -> None:
    """Raises ImageError unless image is (H, W, 3) uint8 with both sides at least 32 pixels."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        shape = getattr(image, "shape", type(image).__name__)
        raise ImageError(f"an image must be (H, W, 3) RGB, this one is {shape}")
    if image.dtype != np.uint8:
        raise ImageError(f"an image must be uint8 (0..255), this one is {image.dtype}: convert it first")
    if min(image.shape[:2]) < 32:
        raise ImageError(
            f"an image of {image.shape[1]} × {image.shape[0]} pixels is too small to map with (32 at least)"
        )


class KeyframeSelector:
    """Sparse optical flow against the last keyframe: enough motion, or too few corners left, makes a new one."""

    def __init__(self, config: MapperConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        self._grey: np.ndarray | None = None
        self._corners: np.ndarray | None = None
        self._stamp = -np.inf

    def judge(self, frame: Frame) -> Decision:
        """Accepting a frame makes it the one that later frames are compared with. Raises ImageError for a bad image."""
        check_image(frame.image)
        height = round(frame.image.shape[0] * FLOW_WIDTH / frame.image.shape[1])
        grey = cv2.cvtColor(
            cv2.resize(frame.image, (FLOW_WIDTH, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        texture = float(np.abs(np.diff(grey.astype(np.int16), axis=1)).mean())
        if texture < self.config.min_texture:
            return Decision(
                False,
                f"too little texture ({texture:.1f} of {self.config.min_texture:.1f} grey levels a pixel)",
            )
        if self._grey is None or self._grey.shape != grey.shape:
            return self._accept(grey, frame.stamp, "first frame")
        moved, tracked = self._flow(grey)
        if tracked < LEAST_TRACKED:
            return self._accept(grey, frame.stamp, f"only {tracked:.0%} of the corners are still in view")
        if moved >= self.config.keyframe_disparity:
            return self._accept(grey, frame.stamp, f"moved by {moved:.1%} of the width")
        if (
            frame.stamp - self._stamp > self.config.keyframe_interval_s
            and moved > 0.2 * self.config.keyframe_disparity
        ):
            return self._accept(
                grey, frame.stamp, f"{frame.stamp - self._stamp:.1f} s since the last keyframe"
            )
        return Decision(False, f"moved by only {moved:.1%} of the width")

    def _accept(self, grey: np.ndarray, stamp: float, reason: str) -> Decision:
        self._grey, self._stamp = grey, stamp
        self._corners = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 7)
        return Decision(True, reason)

    def _flow(self, grey: np.ndarray) -> tuple[float, float]:
        """Median motion as a fraction of the width, and the share of corners that were found again."""
        if self._corners is None or len(self._corners) < 8:
            return 1.0, 0.0
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            self._grey, grey, self._corners, None, winSize=(21, 21), maxLevel=3
        )
        back, status_back, _ = cv2.calcOpticalFlowPyrLK(
            grey, self._grey, found, None, winSize=(21, 21), maxLevel=3
        )
        good = (status & status_back).ravel().astype(bool)
        good &= np.linalg.norm(back - self._corners, axis=2).ravel() < 1.0
        if good.sum() < 8:
            return 1.0, 0.0
        motion = np.linalg.norm(found - self._corners, axis=2).ravel()[good]
        return float(np.median(motion)) / FLOW_WIDTH, float(good.mean())
