"""Depth of single images (the paper's Table of NYUv2 and KITTI): each image is paired with itself.

Published numbers leave some of the protocol open. Taken here: median scaling of each image; means over images; no test-time
flipping; pixels outside the network's crop are not judged, and their share is reported.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from sab3r_ros.evaluation.depth_metrics import depth_errors
from sab3r_ros.evaluation.image_grid import SeenImage
from sab3r_ros.model.feature_model import FeatureModel


@dataclass(frozen=True)
class DepthImage:
    """name: for people. image: (H, W, 3) uint8 RGB. depth: (H, W) float metres along the optical axis, 0 = not judged."""

    name: str
    image: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class DepthFigures:
    """One image's, all in 0..1 but seconds. abs_rel, delta: median-scaled. abs_rel_metres, delta_metres: as the network
    says it. abs_rel_flat, delta_flat: of one depth for all pixels, median-scaled. covered: judged share of the pixels with
    depth. seconds, cpu_seconds: of the network and what prepares its image."""

    abs_rel: float
    delta: float
    abs_rel_metres: float
    delta_metres: float
    abs_rel_flat: float
    delta_flat: float
    covered: float
    seconds: float
    cpu_seconds: float


def predict_depth(model: FeatureModel, image: np.ndarray) -> np.ndarray:
    """(H, W) float32 metres as far as the network knows them, NaN outside its crop. Raises ImageError."""
    seen = SeenImage(model, image)
    view, _ = model.decode(seen.encoding, seen.encoding)
    return np.where(seen.covered, seen.at_pixels(view.points[..., 2].astype(np.float32)), np.float32(np.nan))


def judge_depth(model: FeatureModel, sample: DepthImage) -> DepthFigures:
    """NaN figures where no pixel can be judged."""
    began, cpu_began = time.perf_counter(), time.process_time()
    z = predict_depth(model, sample.image)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    known = sample.depth > 0
    flat = np.where(np.isfinite(z), 1.0, np.nan)
    return DepthFigures(
        *depth_errors(z, sample.depth),
        *depth_errors(z, sample.depth, scaled=False),
        *depth_errors(flat, sample.depth),
        float(np.isfinite(z[known]).mean()) if known.any() else float("nan"),
        seconds,
        cpu_seconds,
    )
