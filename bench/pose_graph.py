"""What settles a Sim(3) pose graph best: GTSAM, which mapping uses, against g2o, on the same graph from the same start.

    pip install --target build/g2o g2opy      # only for this comparison: the package does not need it
    PYTHONPATH=.:build/g2o python bench/pose_graph.py [--keyframes 5000] [--loops 300]

A camera walks round and round through four corridors; every edge has the errors that its sigma says. Both optimisers get
that graph with its drift (Levenberg-Marquardt, Huber on loops, the first keyframe fixed). Times are processor time of one
core: to hand the graph over, and to settle it. The error left is one function's for both: half the sum of squares in
sigmas, loops with their Huber weight.
"""

from __future__ import annotations

import argparse
import time

import gtsam
import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.pose_graph import PoseGraph
from sab3r_ros.mapping.settling import HUBER, MOST_STEPS, between_factor, to_gtsam

LAP_M, STEP_M = 40.0, 0.1
SIGMA = np.array([0.003] * 3 + [0.006] * 3 + [0.007])  # of an edge: radians, metres, log scale


def on_course(step: int) -> Sim3:
    """True pose after so many steps: round a square, always looking ahead."""
    side, along = divmod(step * STEP_M % LAP_M, LAP_M / 4)
    turn = side * np.pi / 2
    corner = [(0, 0), (10, 0), (10, 10), (0, 10)][int(side)]
    R = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return Sim3(1.0, R, np.array([*corner, 0.0]) + R @ [along, 0, 0])


def course(keyframes: int, loops: int, seed: int = 0) -> PoseGraph:
    """A graph with its drift: each keyframe tied to the two before it, loops to where the camera was laps before."""
    rng, graph = np.random.default_rng(seed), PoseGraph()
    truth = [on_course(k) for k in range(keyframes)]

    def measured(i: int, j: int, loop: bool = False) -> Between:
        T_ij = truth[i].inverse() @ truth[j]
        return Between(i, j, T_ij @ Sim3.step(rng.normal(0, SIGMA)), np.diag(SIGMA**2), loop)

    for j, T in enumerate(truth):
        edges = [measured(i, j) for i in range(max(j - 2, 0), j)]
        graph.add(j, graph.T_WK[j - 1] @ edges[-1].T_ij if j else T, 0)
        for edge in edges:
            graph.connect(edge)
    lap = round(LAP_M / STEP_M)
    for j in np.sort(rng.choice(np.arange(lap, keyframes), loops, replace=False)).tolist():
        graph.connect(measured(j - lap * int(rng.integers(1, j // lap + 1)), j, loop=True))
    return graph


def edges_of(graph: PoseGraph) -> list[Between]:
    return list({id(e): e for some in graph.edges.values() for e in some}.values())


def error_left(graph: PoseGraph) -> float:
    values = gtsam.Values()
    for k, T in graph.T_WK.items():
        values.insert(k, to_gtsam(T))
    return sum(between_factor(e).error(values) for e in edges_of(graph))


def by_gtsam(graph: PoseGraph) -> tuple[float, float]:
    """As mapping does it; hands over and settles in one."""
    clock = time.process_time()
    graph.settle(graph.T_WK)
    return 0.0, time.process_time() - clock


def by_g2o(graph: PoseGraph) -> tuple[float, float]:
    import g2opy as g2o

    clock = time.process_time()
    optimizer = g2o.SparseOptimizer()
    optimizer.set_algorithm(
        g2o.OptimizationAlgorithmLevenberg(g2o.BlockSolverSim3(g2o.LinearSolverEigenSim3()))
    )
    vertices = {}
    for k, T in graph.T_WK.items():
        v = vertices[k] = g2o.VertexSim3Expmap()
        v.set_id(k)
        v.set_estimate(as_g2o(g2o, T.inverse()))  # g2o's similarities take the world into the keyframe
        v.set_fixed(k == 0)
        optimizer.add_vertex(v)
    for e in edges_of(graph):
        edge = g2o.EdgeSim3()
        edge.set_vertex(0, vertices[e.i])
        edge.set_vertex(1, vertices[e.j])
        edge.set_measurement(as_g2o(g2o, e.T_ij.inverse()))
        edge.set_information(np.linalg.inv(e.covariance))
        if e.loop:
            edge.set_robust_kernel(g2o.RobustKernelHuber(HUBER))
        optimizer.add_edge(edge)
    handed, clock = time.process_time() - clock, time.process_time()
    optimizer.initialize_optimization()
    optimizer.optimize(MOST_STEPS)
    settled = time.process_time() - clock
    for k, v in vertices.items():
        S = v.estimate()
        graph.T_WK[k] = Sim3(S.scale(), S.rotation().matrix(), np.array(S.translation())).inverse()
    return handed, settled


def as_g2o(g2o, T: Sim3):
    return g2o.Sim3(T.R, T.t, T.s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keyframes", type=int, default=5000)
    parser.add_argument("--loops", type=int, default=300)
    args = parser.parse_args()
    truth = np.stack([on_course(k).t for k in range(args.keyframes)])
    print(f"{args.keyframes:,} keyframes, {args.loops} loops")
    for name, solve in (("drift", None), ("GTSAM", by_gtsam), ("g2o", by_g2o)):
        graph = course(args.keyframes, args.loops)
        handed, settled = solve(graph) if solve else (0.0, 0.0)
        off = np.linalg.norm(np.stack([graph.T_WK[k].t for k in range(args.keyframes)]) - truth, axis=1)
        print(
            f"{name:6} hand over {handed:6.2f} s, settle {settled:6.2f} s, error left {error_left(graph):12.1f}, "
            f"positions off by {np.sqrt((off**2).mean()):.3f} m (RMS)"
        )


if __name__ == "__main__":
    main()
