"""What is known between two keyframes: an edge of the pose graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3

LEVER_M = (
    2.0  # how far an angle or scale reaches when paths are compared: about as far as a camera sees indoors
)


@dataclass(frozen=True)
class Between:
    """What a window or a loop says of two keyframes: T_ij takes points of j into i's frame.

    covariance (7, 7): of its errors in j's frame: rotation (radians), translation (in j's own unit of length), log scale.
    """

    i: int
    j: int
    T_ij: Sim3
    covariance: np.ndarray
    loop: bool = False

    @cached_property
    def cost(self) -> float:
        """Variance that the edge adds to a path, square metres or so."""
        rotation, shift, (scale,) = np.split(np.diag(self.covariance), [3, 6])
        return float(shift.mean() + LEVER_M**2 * (rotation.mean() + scale))

    def other(self, k: int) -> int:
        """The end that is not k."""
        return self.j if self.i == k else self.i

    def seen_from(self, k: int) -> Sim3:
        """T_k,other."""
        return self.T_ij if self.i == k else self.T_ij.inverse()

    def spread(self, T_Fj: Sim3) -> np.ndarray:
        """(7, 7) covariance of the edge's errors, in a frame F."""
        A = T_Fj.adjoint()
        return A @ self.covariance @ A.T
