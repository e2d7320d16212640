"""Calibrated lenses: how they bend a picture, and the same picture as a pinhole camera sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from sab3r_ros.errors import ConfigError, ImageError

# model, as ROS names it → numbers of coefficients that it may have
MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,), "fisheye": (4,)}
FISHEYES = ("equidistant", "fisheye")
SAME_ASPECT = 0.01  # relative difference of aspect ratios up to which two resolutions are of one camera
MOST_ENLARGED = 3.0  # a picture of which less than a third is left is no map's friend


@dataclass(frozen=True)
class Lens:
    """Intrinsics and distortion, as `sensor_msgs/CameraInfo` or a calibration file gives them.

    K: nine numbers, row-major, pixels; integers are pixel centres. size: (H, W) of the images that were calibrated, (0, 0):
    of whichever come. distortion: the model's coefficients in OpenCV's order, empty for a pinhole. Raises ImageError if
    the distortion is none that can be undone.
    """

    K: tuple[float, ...]
    size: tuple[int, int] = (0, 0)
    model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.bends:
            return
        counts = MODELS.get(self.model, ())
        if len(self.distortion) not in counts or not np.isfinite(self.distortion).all():
            known = ", ".join(f"{name} with {' or '.join(map(str, n))}" for name, n in MODELS.items())
            raise ImageError(
                f"a lens of model '{self.model}' with the coefficients {list(self.distortion)} is not known ({known} are): "
                "calibrate the camera again, or rectify its images first (image_proc)"
            )

    @property
    def bends(self) -> bool:
        """Whether there is anything to undo. A fisheye bends even with coefficients of zero."""
        return any(self.distortion) or (self.model in FISHEYES and bool(self.distortion))

    def matrix(self, size: tuple[int, int]) -> np.ndarray:
        """(3, 3) K in pixels of images of (H, W): scaled where they are of another resolution than the calibration's.

        Raises ImageError if they are of another aspect ratio: their camera is another one.
        """
        K, (height, width), (rows, columns) = np.array(self.K, float).reshape(3, 3), size, self.size
        if self.size in ((0, 0), size):
            return K
        if abs(columns * height - width * rows) > SAME_ASPECT * columns * height:
            raise ImageError(
                f"the calibration speaks of {columns} × {rows} pixels, the images have {width} × {height}: "
                "it is another camera's, or they are cropped; give the one that belongs to them"
            )
        ratio = np.array([width / columns, height / rows])
        K = np.diag([*ratio, 1.0]) @ K
        K[:2, 2] += 0.5 * (ratio - 1)
        return K

    def straightened(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """An image (H, W, 3) as a pinhole camera sees it, of the same size, and that camera's (3, 3) K.

        The principal point comes to the centre, and the picture is enlarged until none of its pixels is without content.
        Raises ImageError as `matrix` does, and where a third of the picture or less would be left.
        """
        size = image.shape[:2]
        if not self.bends:
            return image, self.matrix(size)
        K, columns, rows = pinhole_maps(self, size)
        return cv2.remap(image, columns, rows, cv2.INTER_LINEAR), K.copy()

    def straightened_pixels(self, uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(N, 2) pixels (u, v) of an image of (H, W) → where they are in the straightened one, float64."""
        if not self.bends:
            return np.asarray(uv, float)
        K, D, (new, _, _) = self.matrix(size), np.array(self.distortion), pinhole_maps(self, size)
        undo = cv2.fisheye.undistortPoints if self.model in FISHEYES else cv2.undistortPoints
        return undo(np.asarray(uv, float)[:, None], K, D, R=np.eye(3), P=new)[:, 0]


@lru_cache(maxsize=4)
def pinhole_maps(lens: Lens, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(3, 3) K of the pinhole camera, and where in the bent picture each of its pixels is (OpenCV's fixed-point maps)."""
    K, D, wh = lens.matrix(size), np.array(lens.distortion), size[::-1]
    if lens.model in FISHEYES:
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(K, D, wh, np.eye(3), balance=0.0)
        new[:2, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2
        maps = cv2.fisheye.initUndistortRectifyMap(K, D, np.eye(3), new, wh, cv2.CV_16SC2)
    else:
        new, _ = cv2.getOptimalNewCameraMatrix(K, D, wh, 0.0, centerPrincipalPoint=True)
        maps = cv2.initUndistortRectifyMap(K, D, None, new, wh, cv2.CV_16SC2)
    if not 1 / MOST_ENLARGED < new[0, 0] / K[0, 0] < MOST_ENLARGED:
        raise ImageError(
            f"a pinhole camera would need a focal length of {new[0, 0]:.0f} instead of {K[0, 0]:.0f} pixels to see this "
            "lens's picture whole: calibrate it with a model that fits (fisheyes: equidistant), or rectify its images first"
        )
    return new, *maps


def lens_of(info: Any, rectified: bool = False) -> Lens | None:
    """The lens of a `sensor_msgs/CameraInfo` of ROS 1 or 2, or None for an uncalibrated camera (zeros).

    rectified: for images whose lens image_proc has undone; P holds for them. Raises ImageError as `Lens` does.
    """
    K, D, P = (getattr(info, name, getattr(info, name.upper(), ())) for name in "kdp")
    K = np.asarray(K, float).reshape(3, 3)
    if rectified and np.any(P):
        K = np.asarray(P, float).reshape(3, 4)[:, :3]
    if not (K[0, 0] > 0 and K[1, 1] > 0 and np.isfinite(K).all()):
        return None
    bends = () if rectified else tuple(map(float, D))
    return Lens(tuple(K.ravel().tolist()), (info.height, info.width), info.distortion_model, bends)


def read_lens(file: Path) -> Lens:
    """The lens of a calibration file as ROS's camera_calibration writes it (YAML). Raises ConfigError and ImageError."""
    try:
        values = yaml.safe_load(file.read_text())
        return Lens(
            tuple(float(x) for x in values["camera_matrix"]["data"]),
            (int(values["image_height"]), int(values["image_width"])),
            str(values.get("distortion_model", "plumb_bob")),
            tuple(float(x) for x in values.get("distortion_coefficients", {}).get("data", ())),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{file} is no camera calibration ({type(error).__name__}: {error}): give the YAML that ROS's camera_calibration "
            "writes (image_width, image_height, camera_matrix, distortion_model, distortion_coefficients)"
        ) from error
