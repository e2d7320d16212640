"""Poses of keyframes settle by least squares: GTSAM's factors and optimiser over edges and poses of ours.

GTSAM brings Sim(3) factors and robust noise ready made, and its wheel works with NumPy 1 and 2. g2o, which has them, too,
came to the same error in seventeen times the time (bench/pose_graph.py: 5,000 keyframes with 300 loops, from their drift,
1.3 s of one core against 22.5 s).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set

import gtsam
from gtsam import BetweenFactorSimilarity3, PriorFactorSimilarity3, Similarity3

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.between import Between

PINNED = gtsam.noiseModel.Isotropic.Sigma(7, 1e-5)
CHI_SQUARE_7 = 24.3  # exceeded by one in a thousand where 7 errors are as expected
HUBER = 10.0  # sigmas beyond which a loop pulls no harder: right ones of a real network are that far off (validation laps)
MOST_STEPS = 20


def least_squares(
    T_WK: Mapping[int, Sim3], free: Set[int], edges: Collection[Between], loop: Between | None
) -> tuple[dict[int, Sim3], bool]:
    """New poses of the keyframes `free`; all others that edges lead to stay where T_WK has them.

    Also whether a new loop, one of the edges, has put them at odds by no more than one measurement may be wrong by.
    """
    graph, start = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for k in free | {k for e in edges for k in (e.i, e.j)}:
        start.insert(k, to_gtsam(T_WK[k]))
        if k not in free:
            graph.add(PriorFactorSimilarity3(k, to_gtsam(T_WK[k]), PINNED))
    before = 0.0  # half the sum of squares without the loop
    for e in edges:
        factor = between_factor(e)
        graph.add(factor)
        before -= factor.error(start) if e is loop else 0.0
    before += graph.error(start)
    settings = gtsam.LevenbergMarquardtParams()
    settings.setMaxIterations(MOST_STEPS)
    found = gtsam.LevenbergMarquardtOptimizer(graph, start, settings).optimize()
    poses = {k: from_gtsam(found.atSimilarity3(k)) for k in free}
    return poses, graph.error(found) - before < CHI_SQUARE_7 / 2


def between_factor(edge: Between) -> BetweenFactorSimilarity3:
    """What an edge says; a loop may be wrong, and then pulls no harder than HUBER."""
    noise = gtsam.noiseModel.Gaussian.Covariance(edge.covariance)
    if edge.loop:
        noise = gtsam.noiseModel.Robust.Create(gtsam.noiseModel.mEstimator.Huber.Create(HUBER), noise)
    return BetweenFactorSimilarity3(edge.i, edge.j, to_gtsam(edge.T_ij), noise)


def to_gtsam(T: Sim3) -> Similarity3:
    """GTSAM's similarities are x ↦ s (R x + t), ours s R x + t; both have the same logarithm."""
    return Similarity3(gtsam.Rot3(T.R), T.t / T.s, T.s)


def from_gtsam(S: Similarity3) -> Sim3:
    return Sim3(S.scale(), S.rotation().matrix(), S.scale() * S.translation())
