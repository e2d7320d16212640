"""All keyframes of the map and what is known between them: a Sim(3) pose graph, settled by GTSAM when a loop closes.

The graph grows with space, not with time: a keyframe that is no place of its own is carried, rigidly, by one that is, and
what it knew of others is handed on (a reduced pose graph: Johannsson, Kaess, Fallon, Leonard, ICRA 2013).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import numpy as np

from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.between import Between
from sab3r_ros.mapping.carried import Carried
from sab3r_ros.mapping.settling import least_squares

REGION = 150  # keyframes around a loop that are settled if those since the last loop cannot explain it
GROWTH = 1.1  # the whole graph is settled anew when it has grown by this: its cost a keyframe stays the same for ever
BYTES = 4500  # of a keyframe with its edges


class PoseGraph:
    """Poses T_WK by keyframe id, in pieces: keyframes of two pieces have no known relation until a loop joins them.

    A piece is known by the id of its first keyframe, which stays where it is. T_WK, piece and edges: of those that are not
    carried by another.
    """

    def __init__(self) -> None:
        self.T_WK: dict[int, Sim3] = {}
        self.piece: dict[int, int] = {}
        self.edges: dict[int, list[Between]] = {}  # of each keyframe
        self.carried = Carried()
        self.loops = 0
        self._settled = 0  # keyframes when the whole graph was last settled
        self._stale = False  # loops since then were settled in part only
        self._tail = 0  # keyframes from this id on came with or after the last loop

    def __len__(self) -> int:
        return len(self.T_WK) + len(self.carried)

    @property
    def memory_bytes(self) -> int:
        return BYTES * len(self.T_WK) + self.carried.nbytes

    @property
    def pieces(self) -> int:
        """How many parts of the map have no known relation to one another."""
        return len(set(self.piece.values()))

    def add(self, id: int, T_WK: Sim3, piece: int) -> None:
        self.T_WK[id], self.piece[id], self.edges[id] = T_WK, piece, []

    def piece_of(self, id: int) -> int:
        """The piece of any keyframe, carried or not."""
        return self.piece[id if id in self.piece else self.carried.carrier(id)]

    def pose(self, id: int) -> Sim3:
        """T_WK of any keyframe, carried or not."""
        T_WK = self.T_WK.get(id)
        if T_WK is not None:
            return T_WK
        T_CK = self.carried.by([id])[1][0]
        return self.T_WK[self.carried.carrier(id)] @ Sim3.from_matrix(np.vstack([T_CK, [0, 0, 0, 1]]))

    def poses(self, ids: Iterable[int]) -> np.ndarray:
        """(K, 4, 4) rigid T_WK of keyframes, carried or not; one product for all that are carried."""
        ids = list(ids)
        M = np.zeros((len(ids), 4, 4))
        M[:, 3, 3] = 1
        own = [n for n, k in enumerate(ids) if k in self.T_WK]
        rest = [n for n, k in enumerate(ids) if k not in self.T_WK]
        for n in own:
            M[n] = self.T_WK[ids[n]].rigid()
        if rest:
            carriers, T_CK = self.carried.by(ids[n] for n in rest)
            unique, row = np.unique(carriers, return_inverse=True)
            T_WC = np.stack([self.T_WK[c].matrix() for c in unique.tolist()])[row]
            T_CK = T_CK.astype(float)
            R = T_CK[:, :, :3] / np.cbrt(np.linalg.det(T_CK[:, :, :3]))[:, None, None]
            scale = np.cbrt(np.linalg.det(T_WC[:, :3, :3]))[:, None, None]
            M[rest, :3, :3] = T_WC[:, :3, :3] / scale @ R
            M[rest, :3, 3:] = T_WC[:, :3, :3] @ T_CK[:, :, 3:] + T_WC[:, :3, 3:]
        return M

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
        spread = edge.spread(to_j @ T_Wj) + sum(e.spread(to_j @ self.T_WK[e.j]) for e in path)
        miss = ((to_j @ T_Wj) @ (to_j @ self.T_WK[edge.j]).inverse()).log()
        return float(miss @ np.linalg.solve(spread, miss))

    def path(self, i: int, j: int, most: float = np.inf) -> list[Between] | None:
        """Edges of the surest path between two keyframes (Dijkstra), or None if there is none that costs at most `most`."""
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
                there, total = edge.other(here), cost + edge.cost
                if total <= most and total < best.get(there, np.inf):
                    best[there], way[there] = total, (here, edge)
                    heapq.heappush(queue, (total, there))
        if j not in done:
            return None
        path, here = [], j
        while here != i:
            here, edge = way[here]
            path.append(edge)
        return path

    def close(self, loop: Between) -> set[int]:
        """Add a loop within one piece and settle what it changes. Returns the keyframes that may have moved.

        Mostly only the keyframes since the last loop move; those around the loop do if they cannot explain it, and the whole
        graph if these cannot either, or when it has grown by a tenth: so what a keyframe costs does not depend on how many
        there are.
        """
        self.connect(loop)
        self.loops += 1
        newest = max(loop.i, loop.j)
        grown = len(self.T_WK) >= GROWTH * self._settled
        tail = {k for k in range(self._tail, newest + 1) if k in self.T_WK}
        moved, self._stale = tail, True
        explained = self.settle(tail, loop)
        if not explained and not grown:
            moved = tail | self.around(loop)
            explained = self.settle(moved, loop)
        if not explained or grown:
            moved = self.settle_all()
        self._tail = newest
        return moved

    def settle_all(self) -> set[int]:
        """The whole graph, if loops were settled in part only since it last was. Returns the keyframes that may have moved."""
        if not self._stale:
            return set()
        self._stale, self._settled = False, len(self.T_WK)
        self.settle(self.T_WK)
        return set(self.T_WK)

    def around(self, loop: Between) -> set[int]:
        """REGION keyframes, or a few more, that are the fewest edges away from a loop's ends."""
        found = edge = {loop.i, loop.j}
        while edge and len(found) < REGION:
            edge = {e.other(k) for k in edge for e in self.edges[k]} - found
            found = found | edge
        return found

    def join(self, loop: Between) -> set[int]:
        """A loop between two pieces moves the one that began later to where the other says it is, as a whole."""
        stays, moves = (loop.i, loop.j) if self.piece[loop.i] < self.piece[loop.j] else (loop.j, loop.i)
        move = self.T_WK[stays] @ loop.seen_from(stays) @ self.T_WK[moves].inverse()
        old, new = self.piece[moves], self.piece[stays]
        ids = [k for k, p in self.piece.items() if p == old]
        moved = {k for k in ids if k in self.T_WK}
        self.T_WK |= {k: move @ self.T_WK[k] for k in moved}
        self.piece |= dict.fromkeys(ids, new)
        self.connect(loop)
        self.loops += 1
        return moved

    def carrier_of(self, k: int) -> int | None:
        """Who may carry keyframe k: the other end of its surest loop, else an earlier keyframe that it is surely tied to."""
        loops = [e for e in self.edges[k] if e.loop and e.other(k) < k]
        ties = loops or [e for e in self.edges[k] if e.other(k) < k]
        return min(ties, key=lambda e: e.cost).other(k) if ties and self.piece[k] != k else None

    def carry(self, k: int, carrier: int) -> None:
        """From now on k, and what it carries, stands still beside a keyframe that it is tied to.

        k's other edges become the carrier's, less certain by that tie, where the graph knows no surer way.
        """
        tie = min((e for e in self.edges[k] if e.other(k) == carrier), key=lambda e: e.cost)
        T_CK = self.T_WK[carrier].inverse() @ self.T_WK[k]
        rehung = [self._through(tie, e, k) for e in self.edges[k] if e.other(k) != carrier]
        for e in self.edges.pop(k):
            self.edges[e.other(k)].remove(e)
        for edge in sorted(rehung, key=lambda e: e.cost):
            if self.path(edge.i, edge.j, edge.cost) is None:
                self.connect(edge)
        self.carried.hand_on(k, carrier, T_CK)
        del self.T_WK[k], self.piece[k]

    def _through(self, tie: Between, edge: Between, k: int) -> Between:
        """Tie and edge, which meet in k, as one edge."""
        i, j = tie.other(k), edge.other(k)
        to_j = self.T_WK[j].inverse()
        spread = sum(e.spread(to_j @ self.T_WK[e.j]) for e in (tie, edge))
        T_ij = tie.seen_from(i) @ edge.seen_from(k)
        return Between(i, j, T_ij, spread, tie.loop or edge.loop)

    def settle(self, ids: Iterable[int], loop: Between | None = None) -> bool:
        """Least squares over these keyframes' poses, but for the first of each piece; all others stay.

        Returns whether a new loop, one of the edges, has put them at odds by no more than one measurement may be wrong by.
        """
        free = set(ids) - set(self.piece.values())
        edges = {id(e): e for k in free for e in self.edges[k]}.values()
        poses, explained = least_squares(self.T_WK, free, edges, loop)
        self.T_WK |= poses
        return explained

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a map file."""
        edges = list({id(e): e for some in self.edges.values() for e in some}.values())
        carriers, T_CK = self.carried.by(self.carried)
        return {
            "graph_ids": np.array(list(self.T_WK), np.int64),
            "graph_T_WK": np.array([T.matrix() for T in self.T_WK.values()]).reshape(-1, 4, 4),
            "graph_piece": np.array([self.piece[k] for k in self.T_WK], np.int64),
            "graph_loops": np.array([self.loops]),
            "carried_ids": np.array(list(self.carried), np.int64),
            "carried_by": carriers.astype(np.int64),
            "carried_T_CK": T_CK,
            "graph_edges": np.array([(e.i, e.j, e.loop) for e in edges], np.int64).reshape(-1, 3),
            "graph_T_ij": np.array([e.T_ij.matrix() for e in edges]).reshape(-1, 4, 4),
            "graph_covariance": np.array([e.covariance for e in edges]).reshape(-1, 7, 7),
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fill an empty graph from `arrays`. Raises KeyError if one is missing; in older files no keyframe is carried."""
        for k, T, piece in zip(arrays["graph_ids"], arrays["graph_T_WK"], arrays["graph_piece"], strict=True):
            self.add(int(k), Sim3.from_matrix(T), int(piece))
        covariance = arrays.get("graph_covariance")
        if covariance is None:  # older files know of independent errors only
            covariance = np.eye(7) * arrays["graph_sigma"][:, None] ** 2
        for (i, j, loop), T, C in zip(arrays["graph_edges"], arrays["graph_T_ij"], covariance, strict=True):
            self.connect(Between(int(i), int(j), Sim3.from_matrix(T), C, bool(loop)))
            self.loops += int(loop)
        self.loops = int(arrays.get("graph_loops", [self.loops])[0])
        none = np.zeros(0, np.int64)
        for k, carrier, T_CK in zip(
            arrays.get("carried_ids", none).tolist(),
            arrays.get("carried_by", none).tolist(),
            arrays.get("carried_T_CK", none),
            strict=True,
        ):
            self.carried.put(k, carrier, T_CK)
        self._settled = len(self.T_WK)
        self._tail = max(self.T_WK, default=0)
