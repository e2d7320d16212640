"""How far depth is from the truth. NumPy in, plain numbers out."""

from __future__ import annotations

import numpy as np

LEAST_DEPTH_M = 1e-3  # a guess behind or in the camera counts as this


def depth_errors(z: np.ndarray, truth: np.ndarray, scaled: bool = True) -> tuple[float, float]:
    """AbsRel = mean |z − truth| / truth, and δ₁.₂₅ = share of pixels within a factor of 1.25 (Eigen et al. 2014).

    z, truth: one shape, metres; pixels with truth ≤ 0 or z not finite are left out. scaled: z is brought to the truth's
    median first, so that only the shape counts. NaN without any pixel.
    """
    valid = (truth > 0) & np.isfinite(z)
    if not valid.any():
        return float("nan"), float("nan")
    z, truth = np.maximum(z[valid].astype(float), LEAST_DEPTH_M), truth[valid].astype(float)
    if scaled:
        z = z * (np.median(truth) / np.median(z))
    return float(np.mean(np.abs(z - truth) / truth)), float(np.mean(np.maximum(z / truth, truth / z) < 1.25))
