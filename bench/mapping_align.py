"""Our window alignment against DUSt3R's way of doing it, gradient descent over all pixels, on the same pointmaps."""

from __future__ import annotations

import time
from itertools import permutations

import numpy as np
import torch
from mapping_clips import pose
from oracle_flat import OracleNetwork, Place
from scipy.spatial.transform import Rotation

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.sim3 import Sim3, umeyama
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.window import Window

STEPS, RATE = 300, 0.01  # DUSt3R's defaults, cosine schedule


def by_descent(model: OracleNetwork, seen: list) -> np.ndarray:
    """Global alignment (DUSt3R Sec. 3.3, Eq. 5): world points of every view, a pose and a scale for every ordered pair.

    Minimises the confidence-weighted distance between each view's world points and each pair's posed pointmaps with Adam.
    Started from a chain of Umeyama poses, which is kinder than its spanning tree. Returns T_WC (N, 4, 4).
    """
    n, pairs = len(seen), list(permutations(range(len(seen)), 2))
    views = {(i, j): model.decode(seen[i], seen[j]) for i, j in pairs}
    start = [Sim3.identity()]
    for k in range(1, n):
        ours, theirs = (
            views[k - 1, k][1].points,
            views[k, k - 1][0].points,
        )  # view k in k−1's frame and in its own
        s, R, t = umeyama(theirs.reshape(-1, 3).astype(float), ours.reshape(-1, 3).astype(float))
        start.append(start[-1] @ Sim3(float(s), R, t))
    X = torch.tensor(np.stack([[v.points.reshape(-1, 3) for v in views[p]] for p in pairs]))  # (P, 2, HW, 3)
    weight = torch.tensor(np.stack([[v.confidence.ravel() for v in views[p]] for p in pairs])).log()
    world = torch.tensor(
        np.stack([start[k].apply(views[k, (k + 1) % n][0].points.reshape(-1, 3)) for k in range(n)]),
        dtype=torch.float32,
    ).requires_grad_()
    turn = torch.tensor(
        np.stack([Rotation.from_matrix(start[i].R).as_quat() for i, _ in pairs]), dtype=torch.float32
    ).requires_grad_()
    shift = torch.tensor(np.stack([start[i].t for i, _ in pairs]), dtype=torch.float32).requires_grad_()
    log_scale = torch.tensor([np.log(start[i].s) for i, _ in pairs], dtype=torch.float32).requires_grad_()
    first, second = torch.tensor(pairs).T
    optimiser = torch.optim.Adam([world, turn, shift, log_scale], lr=RATE, betas=(0.9, 0.9))
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 + np.cos(np.pi * step / STEPS)) / 2
        scale = (log_scale - log_scale.mean()).exp()  # the product of the scales is 1: nothing shrinks away
        posed = scale[:, None, None, None] * (X @ rotation(turn).mT[:, None]) + shift[:, None, None]
        miss = (posed - torch.stack([world[first], world[second]], 1)).norm(dim=-1)
        optimiser.zero_grad()
        (weight * miss).mean().backward()
        optimiser.step()
    quaternions, shifts = turn.detach().double().numpy(), shift.detach().double().numpy()
    return np.stack(
        [pose(shifts[k], quaternions[k]) for k in (pairs.index((i, (i + 1) % n)) for i in range(n))]
    )


def rotation(q: torch.Tensor) -> torch.Tensor:
    """(P, 4) quaternions x, y, z, w of any length → (P, 3, 3)."""
    x, y, z, w = (q / q.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def by_matches(model: OracleNetwork, seen: list) -> np.ndarray:
    """The mapper's own window. Returns T_WC (N, 4, 4)."""
    window = Window(model, AlignmentConfig())
    for n, encoding in enumerate(seen):
        image = np.zeros((*encoding.points.shape[:2], 3), np.uint8)
        window.add(Keyframe(n, float(n), image, model.place.K, encoding))
    poses = window.solve(np.random.default_rng(0))
    return np.stack([poses[n].rigid() for n in range(len(seen))])


def errors(estimate: np.ndarray, truth: np.ndarray) -> tuple[list[float], list[float]]:
    """Rotation errors in degrees and direction-of-motion errors in degrees, over all pairs of views."""
    turns, ways = [], []
    for i, j in permutations(range(len(truth)), 2):
        A, B = (np.linalg.inv(T[i]) @ T[j] for T in (estimate, truth))
        turns.append(np.degrees(np.linalg.norm(Rotation.from_matrix(A[:3, :3].T @ B[:3, :3]).as_rotvec())))
        a, b = A[:3, 3], B[:3, 3]
        cos = a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12)
        ways.append(np.degrees(np.arccos(np.clip(cos, -1, 1))))
    return turns, ways


def compare(windows: int = 6) -> dict[str, float]:
    """Median errors and seconds of processor time a window of four views."""
    place = Place("flat", 0, size=(160, 120))
    model, rng = OracleNetwork(place), np.random.default_rng(0)
    walk = place.walk(150)
    totals = {name: ([], [], []) for name in ("ours", "descent")}
    for begin in rng.choice(len(walk) - 12, windows, replace=False):
        truth = np.stack(walk[begin : begin + 12 : 3])
        seen = [model.encode(place.frame(T, 0.0).image) for T in truth]
        for name, align in (("ours", by_matches), ("descent", by_descent)):
            clock = time.process_time()
            found = align(model, seen)
            spent = time.process_time() - clock
            turns, ways = errors(found, truth)
            for store, value in zip(totals[name], (turns, ways, [spent]), strict=True):
                store.extend(value)
    out = {}
    for name, (turns, ways, spent) in totals.items():
        out |= {
            f"{name}_rotation_deg": float(np.median(turns)),
            f"{name}_direction_deg": float(np.median(ways)),
            f"{name}_cpu_s": float(np.median(spent)),
        }
    return out
