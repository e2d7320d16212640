"""What a real camera does to a picture of a room: motion blur and lens distortion."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BLUR_STEPS = 7  # pictures averaged over the exposure
UNDISTORT_STEPS = 40


@dataclass(frozen=True)
class Lens:
    """shutter: exposure as a share 0..1 of the time between two views, which smears what moves; 0 is a still.

    distortion: OpenCV's k1, k2, p1, p2; depth and instances are distorted alike, and stay exact. The default is a pinhole.
    """

    shutter: float = 0.0
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def rays(self, K: np.ndarray, width: int, height: int) -> np.ndarray:
        """Viewing rays of all pixels, (H·W, 3), z = 1, camera RDF. K (3, 3) pixels."""
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        x0, y0 = (u.ravel() - K[0, 2]) / K[0, 0], (v.ravel() - K[1, 2]) / K[1, 1]
        x, y = x0, y0
        k1, k2, p1, p2 = self.distortion
        for _ in range(UNDISTORT_STEPS if any(self.distortion) else 0):  # fixed point of OpenCV's model
            r2 = x * x + y * y
            radial = 1 + k1 * r2 + k2 * r2 * r2
            dx, dy = 2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
            x, y = (x0 - dx) / radial, (y0 - dy) / radial
        return np.stack([x, y, np.ones(len(x))], 1)

    def smear(
        self, radiance: np.ndarray, depth: np.ndarray, K: np.ndarray, T_WC: np.ndarray, next_T_WC: np.ndarray
    ) -> np.ndarray:
        """Linear radiance (H, W, 3) averaged along each pixel's way while the camera moves to the next view's pose.

        The way is that of the surface seen at mid-exposure, so that truth and picture stay registered; it is a straight
        line, and what comes out from behind something is taken from its neighbours.
        """
        if self.shutter == 0:
            return radiance
        height, width = depth.shape
        rays = self.rays(K, width, height)
        T_NC = np.linalg.inv(next_T_WC) @ T_WC
        X = (rays * depth.reshape(-1, 1)) @ T_NC[:3, :3].T + T_NC[:3, 3]
        ahead = X[:, 2] > 0.05  # metres; what ends behind the camera is left sharp
        projected, _ = cv2.projectPoints(
            np.where(ahead[:, None], X, [0, 0, 1.0]), np.zeros(3), np.zeros(3), K, np.array(self.distortion)
        )
        v, u = np.mgrid[:height, :width].astype(np.float32)
        flow = projected.reshape(height, width, 2).astype(np.float32) - np.stack([u, v], -1)
        flow[~ahead.reshape(height, width)] = 0
        flow = cv2.blur(flow, (5, 5)) * self.shutter  # smooth over edges: a hard one would tear
        total = np.zeros_like(radiance, np.float32)
        for share in np.linspace(-0.5, 0.5, BLUR_STEPS):
            total += cv2.remap(
                radiance.astype(np.float32),
                u - np.float32(share) * flow[..., 0],
                v - np.float32(share) * flow[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return total / BLUR_STEPS
