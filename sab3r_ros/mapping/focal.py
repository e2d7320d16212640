"""The focal length of a camera whose intrinsics are not given: what its pointmaps say, and what its matches make of that.

A pointmap's depths on the rays of a wrong focal length do not meet those of another view: by how much less matches agree at
other focal lengths tells the right one, the better the more the camera turns between them. One pair says little, and a wrong
one nothing true; of many pairs of one camera it is the sum.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicSpline

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.camera import focal_from_pointmap, pinhole
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.alignment import Edge, refined, thinned
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.types import View

TRIED = np.linspace(-0.3, 0.3, 7)  # log factors on the focal length at which a pair's matches are asked
OFFSETS = np.linspace(-0.8, 0.8, 161)  # log factors on the first guess between which the estimate lies
MOVED = 0.01  # log ratio
GUESSES = 200  # the last so many views' are remembered
# Of views of rooms of the validation split, what a network guesses of one camera differs from view to view by USUAL_SPREAD
# (log), and errs by four times that. Of a camera that it was trained on both are a hundredth.
USUAL_SPREAD, SPREAD_WEIGHT, ERROR_OF_SPREAD = 0.034, 0.2, 4.0
ALIKE = 16.0  # so many matches err together
WRONG = 0.1  # likelihood that a pair's worst focal length has beside its best one's 1
STEPS = 8  # of a refinement that starts near its end


class FocalEstimate:
    """One focal length for a camera: the user's, or the most probable by all pointmaps and pairs when it was last decided."""

    def __init__(self) -> None:
        self.pixels = float("nan")
        self._guesses: list[float] = []  # logarithms
        self._origin = float("nan")  # the first of them
        self._against = np.zeros(len(OFFSETS))  # −log likelihood of the pairs

    def update(self, view: View) -> None:
        """What a view's pointmap says. The first one decides."""
        focal = focal_from_pointmap(view.points, view.confidence)
        if np.isfinite(focal):
            self._guesses = [*self._guesses[1 - GUESSES :], float(np.log(focal))]
            if np.isnan(self._origin):
                self.pixels, self._origin = focal, self._guesses[0]

    def learn(self, edge: Edge, T_ij: Sim3, config: AlignmentConfig) -> None:
        """What an aligned pair's matches say, whose points lie on the rays of the focal length as it is decided."""
        costs = CubicSpline(TRIED, costs_by_focal(edge, T_ij, config))
        cost = costs(np.clip(self._origin + OFFSETS - np.log(self.pixels), TRIED[0], TRIED[-1]))
        self._against -= np.log(np.exp((cost.min() - cost) / (2 * ALIKE)) + WRONG)

    def decide(self) -> bool:
        """Take the most probable one. Whether it has moved; it does not by less than `MOVED`."""
        log_focals, guesses = self._origin + OFFSETS, np.array(self._guesses)
        if not len(guesses):
            return False
        squares = SPREAD_WEIGHT * USUAL_SPREAD**2 + np.square(guesses - guesses.mean()).sum()
        error = ERROR_OF_SPREAD * np.sqrt(squares / (SPREAD_WEIGHT + len(guesses) - 1))
        unlikely = self._against + ((log_focals - np.median(guesses)) / error) ** 2 / 2
        focal = float(np.exp(log_focals[unlikely.argmin()]))
        moved = abs(np.log(focal / self.pixels)) > MOVED
        if moved:
            self.pixels = focal
        return moved

    def K(self, keyframe: Keyframe) -> np.ndarray | None:
        """(3, 3) intrinsics for the keyframe's pixels; None before any estimate."""
        if keyframe.K is not None:
            return keyframe.K
        return pinhole(self.pixels, *keyframe.image.shape[:2]) if self._guesses else None


def costs_by_focal(edge: Edge, T_ij: Sim3, config: AlignmentConfig) -> np.ndarray:
    """(len(TRIED),) least cost of a pair's alignment were its focal length larger by these factors, found from T_ij outwards.

    Matches err by pixels: with the focal length the angle of a pixel changes.
    """
    edge, costs, middle = thinned(edge), np.empty(len(TRIED)), len(TRIED) // 2
    for side in (range(middle, len(TRIED)), range(middle - 1, -1, -1)):
        T = T_ij
        for k in side:
            there = refocused(edge, TRIED[k])
            sigma = config.ray_sigma_rad * float(np.exp(-TRIED[k]))
            asked = replace(config, ray_sigma_rad=sigma, refine_steps=min(STEPS, config.refine_steps))
            poses, costs[k] = refined({edge.i: Sim3.identity(), edge.j: T}, [there], {edge.i}, asked)
            T = poses[edge.j]
    return costs


def refocused(edge: Edge, log_factor: float) -> Edge:
    """The edge with its depths on the rays of a focal length larger by a factor."""
    squeeze = np.array([np.exp(-log_factor), np.exp(-log_factor), 1.0])
    return Edge(edge.i, edge.j, edge.Xi * squeeze, edge.Xj * squeeze, edge.probability)
