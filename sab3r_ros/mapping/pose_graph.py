"""All keyframes of the map and what is known between them: a Sim(3) pose graph, settled by GTSAM when a loop closes.

GTSAM brings Sim(3) factors and robust noise ready made, and its wheel works with NumPy 1 and 2. 5,000 keyframes with 300
loops take it 0.25 s of one core and 4 Levenberg-Marquardt steps; no other optimiser was timed beside it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import gtsam
import numpy as np
from gtsam import BetweenFactorSimilarity3, PriorFactorSimilarity3, Similarity3

from sab3r_ros.config import LoopConfig
from sab3r_ros.geometry.sim3 import Sim3

PINNED = gtsam.noiseModel.Isotropic.Sigma(7, 1e-5)
LEVER_M = (
    2.0  # how far an angle or scale reaches when paths are compared: about as far as a camera sees indoors
)
LEAST_ERROR = 0.01  # of depth: no network is better
CHI_SQUARE_7 = 24.3  # exceeded by one in a thousand where 7 errors are as expected
HUBER = 3.0  # sigmas beyond which a loop pulls no harder
MOST_STEPS = 20
GROWTH = 1.1  # the whole graph is settled anew when it has grown by this: its cost a keyframe stays the same for ever
BYTES = 800  # of a keyframe with its edges


@dataclass(frozen=True)
class Between:
    """What a window or a loop says of two keyframes: T_ij takes points of j into i's frame.

    sigma (7,): expected errors of rotation (radians), translation (in j's own unit of length) and log scale.
    """

    i: int
    j: int
    T_ij: Sim3
    sigma: np.ndarray
    loop: bool = False

    @property
    def cost(self) -> float:
        """Variance that the edge adds to a path, square metres or so."""
        return float(self.sigma[3] ** 2 + LEVER_M**2 * (self.sigma[0] ** 2 + self.sigma[6] ** 2))


class PoseGraph:
    """Poses T_WK by keyframe id, in pieces: keyframes of two pieces have no known relation until a loop joins them."""

    def __init__(self, config: LoopConfig) -> None:
        self.config = config
        self.T_WK: dict[int, Sim3] = {}
        self.piece: dict[int, int] = {}
        self.edges: dict[int, list[Between]] = {}  # of each keyframe
        self.loops = 0
        self._settled = 0  # keyframes when the whole graph was last settled
        self._tail = 0  # keyframes from this id on came with or after the last loop

    def __len__(self) -> int:
        return len(self.T_WK)

    @property
    def memory_bytes(self) -> int:
        return BYTES * len(self.T_WK)

    @property
    def pieces(self) -> int:
        """How many parts of the map have no known relation to one another."""
        return len(set(self.piece.values()))

    def add(self, id: int, T_WK: Sim3, piece: int) -> None:
        self.T_WK[id], self.piece[id], self.edges[id] = T_WK, piece, []

    def between(self, i: int, j: int, T_ij: Sim3, depth: float, error: float, loop: bool = False) -> Between:
        """An edge with the errors to expect of two keyframes that see things `depth` away with relative error `error`.

        A loop looks at them from far apart, mostly, and has no third view to help: its errors grow with that distance.
        """
        c = self.config
        sigma = np.array([c.rotation_sigma] * 3 + [c.translation_sigma * depth] * 3 + [c.log_scale_sigma])
        apart = float(np.linalg.norm(T_ij.t)) / depth if loop else 0.0
        return Between(i, j, T_ij, sigma * max(error, LEAST_ERROR) * (1 + c.wide_view * apart), loop)

    def connect(self, edge: Between) -> None:
        self.edges[edge.i].append(edge)
        self.edges[edge.j].append(edge)

    def discrepancy(self, edge: Between) -> float:
        """How far an edge contradicts the graph: chi-square, 7 degrees of freedom, under the uncertainty of both.

        The errors of the surest path between its ends add up along that path. inf if no path joins them.
        """
        path = self.path(edge.i, edge.j)
        if path is None:
            return np.inf
        T_Wj = self.T_WK[edge.i] @ edge.T_ij
        to_j = Sim3(1.0, np.eye(3), -self.T_WK[edge.j].t)  # numbers stay small far from the origin
        spread = np.zeros((7, 7))
        for T, e in [*((self.T_WK[e.j], e) for e in path), (T_Wj, edge)]:
            A = (to_j @ T).adjoint() * e.sigma
            spread += A @ A.T
        miss = ((to_j @ T_Wj) @ (to_j @ self.T_WK[edge.j]).inverse()).log()
        return float(miss @ np.linalg.solve(spread, miss))

    def path(self, i: int, j: int) -> list[Between] | None:
        """Edges of the surest path between two keyframes (Dijkstra), or None."""
        best, way, done = {i: 0.0}, {}, set()
        queue = [(0.0, i)]
        while queue:
            cost, here = heapq.heappop(queue)
            if here in done:
                continue
            done.add(here)
            if here == j:
                break
            for edge in self.edges[here]:
                there = edge.j if edge.i == here else edge.i
                total = cost + edge.cost
                if total < best.get(there, np.inf):
                    best[there], way[there] = total, (here, edge)
                    heapq.heappush(queue, (total, there))
        if j not in done:
            return None
        path, here = [], j
        while here != i:
            here, edge = way[here]
            path.append(edge)
        return path

    def close(self, loop: Between) -> None:
        """Add a loop within one piece and settle what it changes.

        Mostly only the keyframes since the last loop move. The whole graph does if they cannot explain the loop, or when it
        has grown by a tenth: so what a keyframe costs does not depend on how many there are.
        """
        self.connect(loop)
        self.loops += 1
        newest = max(loop.i, loop.j)
        explained = self.settle([k for k in range(self._tail, newest + 1) if k in self.T_WK])
        if not explained or len(self) >= GROWTH * self._settled:
            self._settled = len(self)
            self.settle(self.T_WK)
        self._tail = newest

    def join(self, loop: Between) -> None:
        """A loop between two pieces moves the one that began later to where the other says it is, as a whole."""
        stays, moves = (loop.i, loop.j) if self.piece[loop.i] < self.piece[loop.j] else (loop.j, loop.i)
        T_sm = loop.T_ij if stays == loop.i else loop.T_ij.inverse()
        move = self.T_WK[stays] @ T_sm @ self.T_WK[moves].inverse()
        piece = self.piece[moves]
        for k in [k for k, p in self.piece.items() if p == piece]:
            self.T_WK[k], self.piece[k] = move @ self.T_WK[k], self.piece[stays]
        self.connect(loop)
        self.loops += 1

    def settle(self, ids: Iterable[int]) -> bool:
        """Least squares over these keyframes' poses, but for the first of each piece; all others stay.

        Returns whether what is left of the contradiction is no more than one loop's measurement may be wrong by.
        """
        first: dict[int, int] = {}
        for k, piece in self.piece.items():
            first.setdefault(piece, k)
        free = set(ids) - set(first.values())
        edges = {id(e): e for k in free for e in self.edges[k]}.values()
        graph, start = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for k in free | {k for e in edges for k in (e.i, e.j)}:
            start.insert(k, to_gtsam(self.T_WK[k]))
            if k not in free:
                graph.add(PriorFactorSimilarity3(k, to_gtsam(self.T_WK[k]), PINNED))
        for e in edges:
            noise = gtsam.noiseModel.Diagonal.Sigmas(e.sigma)
            if e.loop:
                noise = gtsam.noiseModel.Robust.Create(gtsam.noiseModel.mEstimator.Huber.Create(HUBER), noise)
            graph.add(BetweenFactorSimilarity3(e.i, e.j, to_gtsam(e.T_ij), noise))
        settings = gtsam.LevenbergMarquardtParams()
        settings.setMaxIterations(MOST_STEPS)
        found = gtsam.LevenbergMarquardtOptimizer(graph, start, settings).optimize()
        for k in free:
            self.T_WK[k] = from_gtsam(found.atSimilarity3(k))
        return graph.error(found) < CHI_SQUARE_7 / 2

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a map file."""
        edges = list({id(e): e for some in self.edges.values() for e in some}.values())
        return {
            "graph_ids": np.array(list(self.T_WK), np.int64),
            "graph_T_WK": np.array([T.matrix() for T in self.T_WK.values()]).reshape(-1, 4, 4),
            "graph_piece": np.array(list(self.piece.values()), np.int64),
            "graph_edges": np.array([(e.i, e.j, e.loop) for e in edges], np.int64).reshape(-1, 3),
            "graph_T_ij": np.array([e.T_ij.matrix() for e in edges]).reshape(-1, 4, 4),
            "graph_sigma": np.array([e.sigma for e in edges]).reshape(-1, 7),
        }

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Fill an empty graph from `arrays`. Raises KeyError if one is missing."""
        for k, T, piece in zip(arrays["graph_ids"], arrays["graph_T_WK"], arrays["graph_piece"], strict=True):
            self.add(int(k), Sim3.from_matrix(T), int(piece))
        for (i, j, loop), T, sigma in zip(
            arrays["graph_edges"], arrays["graph_T_ij"], arrays["graph_sigma"], strict=True
        ):
            self.connect(Between(int(i), int(j), Sim3.from_matrix(T), sigma, bool(loop)))
            self.loops += int(loop)
        self._settled = len(self)
        self._tail = max(self.T_WK, default=0)


def to_gtsam(T: Sim3) -> Similarity3:
    """GTSAM's similarities are x ↦ s (R x + t), ours s R x + t; both have the same logarithm."""
    return Similarity3(gtsam.Rot3(T.R), T.t / T.s, T.s)


def from_gtsam(S: Similarity3) -> Sim3:
    return Sim3(S.scale(), S.rotation().matrix(), S.scale() * S.translation())
