"""Similarity transforms of space, Sim(3), and their least-squares estimate from matched points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

SETTLED = 1e-3  # relative change of a robust fit's width that ends it


@dataclass(frozen=True)
class Sim3:
    """x ↦ s · R x + t. s > 0; R (3, 3) rotation; t (3,). `T_AB = T_AC @ T_CB` as with rigid transforms."""

    s: float
    R: np.ndarray
    t: np.ndarray

    @staticmethod
    def identity() -> Sim3:
        return Sim3(1.0, np.eye(3), np.zeros(3))

    @staticmethod
    def from_matrix(M: np.ndarray) -> Sim3:
        """(4, 4) with upper left s · R. Raises ValueError if that is not a scaled rotation."""
        s = float(np.cbrt(np.linalg.det(M[:3, :3])))
        R = M[:3, :3] / s if s > 0 else M[:3, :3]
        if s <= 0 or not np.allclose(R @ R.T, np.eye(3), atol=1e-5):
            raise ValueError("not a similarity: the upper left 3 × 3 block is not a scaled rotation")
        return Sim3(s, R, M[:3, 3].astype(float))

    @staticmethod
    def exp(xi: np.ndarray) -> Sim3:
        """From the algebra: xi (7,) = rotation vector, translation part, log scale."""
        w, scale = xi[:3], float(xi[6])
        return Sim3(math.exp(scale), rotation(*w.tolist()), sweep(w, scale) @ xi[3:6])

    def log(self) -> np.ndarray:
        """The (7,) vector whose `exp` this is; rotation angle below pi."""
        w, scale = Rotation.from_matrix(self.R).as_rotvec(), math.log(self.s)
        return np.r_[w, np.linalg.solve(sweep(w, scale), self.t), scale]

    @staticmethod
    def step(delta: np.ndarray) -> Sim3:
        """A cheap first-order twin of `exp`, for optimisers: delta (7,) = rotation vector, translation, log scale."""
        return Sim3(float(np.exp(delta[6])), rotation(*delta[:3].tolist()), delta[3:6].copy())

    def __matmul__(self, other: Sim3) -> Sim3:
        return Sim3(self.s * other.s, self.R @ other.R, self.s * self.R @ other.t + self.t)

    def inverse(self) -> Sim3:
        return Sim3(1 / self.s, self.R.T, -(self.R.T @ self.t) / self.s)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) → (..., 3)."""
        return points @ (self.s * self.R.T).astype(points.dtype) + self.t.astype(points.dtype)

    def adjoint(self) -> np.ndarray:
        """(7, 7) with `T @ exp(xi) == exp(adjoint @ xi) @ T`: a change on this side of the pose, seen from the other."""
        A = np.zeros((7, 7))
        A[:3, :3], A[3:6, 3:6], A[6, 6] = self.R, self.s * self.R, 1.0
        A[3:6, :3], A[3:6, 6] = skew(self.t) @ self.R, -self.t
        return A

    def matrix(self) -> np.ndarray:
        """(4, 4) with the scale in the upper left block."""
        M = np.eye(4)
        M[:3, :3], M[:3, 3] = self.s * self.R, self.t
        return M

    def rigid(self) -> np.ndarray:
        """(4, 4) without the scale: the pose of a camera whose pointmap this similarity places."""
        M = np.eye(4)
        M[:3, :3], M[:3, 3] = self.R, self.t
        return M

    def angle_to(self, other: Sim3) -> float:
        """Angle between the two rotations, radians."""
        return float(np.linalg.norm(Rotation.from_matrix(self.R.T @ other.R).as_rotvec()))


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """(3, 3) of a rotation vector, radians (Rodrigues). Ten times as fast as SciPy's for one."""
    angle = math.sqrt(x * x + y * y + z * z)
    small = angle < 1e-6
    a = 1.0 if small else math.sin(angle) / angle
    b = 0.5 if small else (1 - math.cos(angle)) / angle**2
    return np.array(
        [
            [1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y],
            [b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x],
            [b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)],
        ]
    )


def sweep(w: np.ndarray, scale: float) -> np.ndarray:
    """(3, 3): the integral of exp(τ A) over τ from 0 to 1, A = [w]× + scale · I; `Sim3.exp` moves by it times v.

    It is f(A), f(z) = (exp(z) − 1) / z. The eigenvalues of A are scale, along w, and scale ± i |w|, around it.
    """
    angle = float(np.linalg.norm(w))
    along, around = (
        np.expm1(z) / z if abs(z) > 1e-9 else 1.0 + 0j for z in (complex(scale), complex(scale, angle))
    )
    axis = w / max(angle, 1e-9)
    in_plane = around.real * np.eye(3) + around.imag * skew(axis)
    return in_plane + (along.real - around.real) * np.outer(axis, axis)


def skew(w: np.ndarray) -> np.ndarray:
    """(3,) → the matrix of the cross product with it."""
    return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])


def umeyama(
    X: np.ndarray, Y: np.ndarray, w: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least squares s, R, t with Y ≈ s R X + t (Umeyama 1991), for a batch.

    X, Y: (..., N, 3), N ≥ 3. w: (..., N) ≥ 0. Returns s (...), R (..., 3, 3), t (..., 3). Degenerate points (all on a line)
    give some rotation, not an error: score it on other points.
    """
    w = np.ones(X.shape[:-1]) if w is None else w
    w = w / np.maximum(w.sum(-1, keepdims=True), 1e-12)
    mx, my = ((w[..., None, :] @ P)[..., 0, :] for P in (X, Y))
    Xc, Yc = X - mx[..., None, :], Y - my[..., None, :]
    weighted = w[..., None] * Xc
    U, D, Vt = np.linalg.svd(Yc.swapaxes(-1, -2) @ weighted)
    sign = np.ones(D.shape)
    sign[..., 2] = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    R = (U * sign[..., None, :]) @ Vt
    spread = np.einsum("...nk,...nk->...", weighted, Xc)
    s = (D * sign).sum(-1) / np.maximum(spread, 1e-12)
    return s, R, my - s[..., None] * np.einsum("...ij,...j->...i", R, mx)


def robust_umeyama(X: np.ndarray, Y: np.ndarray, w: np.ndarray, rounds: int = 10) -> tuple[Sim3, np.ndarray]:
    """Sim(3) with Y ≈ S X, reweighted by Geman-McClure on residuals relative to distance from Y's mean.

    X, Y: (N, 3). w: (N,) ≥ 0. Returns the similarity and the (N,) relative residuals. The kernel starts wide and
    narrows to three times the median residual, so that a minority of outliers of any size does not matter. It ends
    early when that settles to a thousandth.
    """
    reach = np.linalg.norm(Y - np.median(Y, axis=0), axis=1).mean() + 1e-9
    kernel, width = np.ones(len(X)), np.inf
    for _ in range(rounds):
        s, R, t = umeyama(X, Y, w * kernel)
        miss = Y - (X @ (s * R.T) + t)
        r = np.sqrt(np.einsum("nk,nk->n", miss, miss)) / reach
        before, width = width, max(3 * float(np.median(r)), 1e-6)
        if abs(before - width) < SETTLED * width:
            break
        kernel = 1 / (1 + (r / width) ** 2) ** 2
    return Sim3(float(s), R, t), r
