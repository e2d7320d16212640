"""A window of overlapping keyframes: pointmaps and matches of its pairs → poses in one frame → its place in the map."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.geometry.camera import on_rays
from sab3r_ros.geometry.sim3 import Sim3, robust_umeyama
from sab3r_ros.mapping.alignment import (
    PairAlignment,
    align_from,
    align_pair,
    measured,
    refine,
    row_norm,
    thinned,
)
from sab3r_ros.mapping.consensus import agree, alone, blended
from sab3r_ros.mapping.depth_grid import Bending, PixelEdge, bend, factors
from sab3r_ros.mapping.focal import FocalEstimate
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.matching import match_views, points_at
from sab3r_ros.mapping.rivals import UNASKED, Surface, best_rival, doubtful, evidence
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.types import View

LEAST_OVERLAP = (
    0.5  # of the newest keyframe's most matches in its window: one that has fewer with it is let go
)
LONGEST_REACH = 0.15  # between the two cameras, as a share of the distance of what they see
GOLDEN = 0.6180339887  # its multiples, but for whole numbers, fill an interval evenly
SHARED_SAMPLES = 300  # pixels of the shared keyframes that place a window in the map


@dataclass
class Window:
    """The keyframes that are aligned together. Views and matches are computed once and kept while both keyframes stay."""

    model: FeatureModel
    config: AlignmentConfig
    focal: FocalEstimate = field(default_factory=FocalEstimate)
    bending: Bending = field(default_factory=Bending)
    keyframes: list[Keyframe] = field(default_factory=list)
    _views: dict[int, View] = field(default_factory=dict)
    _edges: dict[tuple[int, int], PixelEdge | None] = field(default_factory=dict)
    # The pointmaps that the edges' points were read from.
    _read: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _pairs: dict[tuple[int, int], PairAlignment | None] = field(default_factory=dict)
    _weights: dict[int, np.ndarray] = field(
        default_factory=dict
    )  # how many views agree on a pointmap, by cells
    _decodings: dict[int, int] = field(default_factory=dict)  # that a pointmap is the mean of

    def add(self, keyframe: Keyframe) -> None:
        self.keyframes.append(keyframe)

    def keep_last(self, count: int) -> None:
        """Forget all but the last `count` keyframes, with their views, matches and encodings."""
        self._keep(self.keyframes[-count:] if count else [])

    def keep_anchors(self, count: int, waiting: list[Keyframe]) -> None:
        """Forget all but those that wait and `count` of the others: the newest, and the oldest that still see the same.

        Errors add up where one keyframe hands over to the next: the longer one stays, the fewer they are. From too far away
        errors of depth turn into errors of the pose.
        """
        *before, newest = (k for k in self.keyframes if k not in waiting)
        pairs = {k.id: pair for k in before if (pair := self._pairs.get((k.id, newest.id)))}
        enough = LEAST_OVERLAP * max((pair.count for pair in pairs.values()), default=0)
        near = [
            k
            for k in before
            if k.id in pairs
            and pairs[k.id].count >= enough
            and np.linalg.norm(pairs[k.id].T_ij.t)
            < LONGEST_REACH * np.median(row_norm(self._edges[k.id, newest.id].Xi))
        ]
        kept = (near or before[::-1])[: count - 1]  # none is near where keyframes are few: then the last
        self._keep([*sorted(kept, key=lambda k: k.id), newest, *waiting])

    def _keep(self, keyframes: list[Keyframe]) -> None:
        here = {k.id for k in keyframes}
        for keyframe in self.keyframes:
            if keyframe.id not in here:
                keyframe.encoding = None
        self.keyframes = keyframes
        self._views = {k: v for k, v in self._views.items() if k in here}
        self._weights = {k: v for k, v in self._weights.items() if k in here}
        self._decodings = {k: v for k, v in self._decodings.items() if k in here}
        self._edges = {k: v for k, v in self._edges.items() if set(k) <= here}
        self._read = {k: v for k, v in self._read.items() if set(k) <= here}
        self._pairs = {k: v for k, v in self._pairs.items() if set(k) <= here}

    def view(self, keyframe: Keyframe) -> View:
        """The keyframe's own-frame view, its points on the rays of the camera's one focal length."""
        if keyframe.id not in self._views:
            partner = keyframe if self.model.monocular else self._neighbour(keyframe)
            view, _ = self.model.decode(keyframe.encoding, partner.encoding)
            if keyframe.K is None:
                self.focal.update(view)
            K = self.focal.K(keyframe)
            points = view.points if K is None else on_rays(view.points, K)
            self._views[keyframe.id] = View(
                points, view.confidence, view.descriptors, view.descriptor_confidence, view.features
            )
        return self._views[keyframe.id]

    def agree(self, keyframe: Keyframe, before: Keyframe, T_KP: Sim3) -> None:
        """Draw a keyframe's pointmap to an earlier one's, T_KP taking that one's points into its frame."""
        view, earlier, K = self.view(keyframe), self.view(before), self.focal.K(keyframe)
        if K is None or view.size != earlier.size:
            return
        weight = self._weights.get(before.id, alone(earlier.points))
        points, self._weights[keyframe.id] = agree(view.points, T_KP, earlier.points, weight, K)
        self._views[keyframe.id] = replace(view, points=points.astype(np.float32))

    def _blend(self, keyframe: Keyframe, again: View) -> None:
        """Draw a keyframe's pointmap to another decoding of it: the mean of all so far, each at the first one's scale."""
        view, count = self.view(keyframe), self._decodings.get(keyframe.id, 1)
        points, self._decodings[keyframe.id] = blended(view.points, again.points, count), count + 1
        self._views[keyframe.id] = replace(view, points=points)

    def _neighbour(self, keyframe: Keyframe) -> Keyframe:
        others = [k for k in self.keyframes if k.id != keyframe.id]
        return min(others, key=lambda k: abs(k.id - keyframe.id)) if others else keyframe

    def edge(self, a: Keyframe, b: Keyframe) -> PixelEdge | None:
        """Matched points of two keyframes, the most probable `max_matches`; None if there are too few."""
        key = (a.id, b.id)
        if key not in self._edges:
            alone = self.model.monocular
            self._edges[key] = self._matched(
                a, b, (self.view(b), self.view(a)) if alone else self._both(a, b)
            )
        return self._edges[key]

    def _both(self, a: Keyframe, b: Keyframe) -> tuple[View, View]:
        """b and a as the network sees them together, the newer one first: the own-frame view of a two-view network comes from
        the same decoding.
        """
        return self.model.decode(b.encoding, a.encoding)

    def _matched(self, a: Keyframe, b: Keyframe, described: tuple[View, View]) -> PixelEdge | None:
        """Their edge, by the descriptors of b and a."""
        va, vb = self.view(a), self.view(b)
        first, second = described
        found = match_views(first, second, (b.image, a.image))
        if not self.model.monocular and b.T_WK is None and a is not self._neighbour(b):
            self._blend(b, first)
        # Among equals, some from everywhere.
        best = np.lexsort((np.arange(len(found)) * GOLDEN % 1, -found.probability))[: self.config.max_matches]
        uv_a, uv_b, p = found.second[best], found.first[best], found.probability[best]
        Xa, Xb = points_at(va.points, uv_a), points_at(vb.points, uv_b)
        good = np.isfinite(Xa).all(1) & np.isfinite(Xb).all(1) & (Xa[:, 2] > 1e-3) & (Xb[:, 2] > 1e-3)
        self._read[a.id, b.id] = va.points, vb.points
        if good.sum() < self.config.min_matches:
            return None
        return PixelEdge(a.id, b.id, Xa[good], Xb[good], p[good], uv_a[good], uv_b[good], va.size)

    def pair(self, a: Keyframe, b: Keyframe, rng: np.random.Generator) -> PairAlignment | None:
        """How a and b stand to each other; None where nothing tells, or what tells is no more than chance."""
        key = (a.id, b.id)
        if key not in self._pairs:
            self._refocus()
            self._pairs[key] = self._aligned(self.edge(a, b), rng)
            if doubtful(self._pairs[key], self._edges[key]):
                self._pairs[key] = self._doubted(a, b, rng)
            if a.K is None and b.K is None and self._pairs[key]:
                self.focal.learn(self._edges[key], self._pairs[key].T_ij, self.config)
        return self._pairs[key]

    def _aligned(self, edge: PixelEdge | None, rng: np.random.Generator) -> PairAlignment | None:
        return align_pair(edge, self.config, rng) if edge else None

    def _doubted(self, a: Keyframe, b: Keyframe, rng: np.random.Generator) -> PairAlignment | None:
        """What a network that has seen each alone makes of them together; of rivals the best, if intrinsics are known."""
        key, pair = (a.id, b.id), self._pairs[a.id, b.id]
        if self.model.monocular:
            described, Ks = self._both(a, b), (self.focal.K(b), self.focal.K(a))
            edge = self._edges[key] = self._matched(a, b, described)
            pair = self._aligned(edge, rng)
            if edge and doubtful(pair, edge) and all(K is not None for K in Ks):
                of_b, of_a = (
                    Surface(replace(self._views[k.id], descriptors=view.descriptors), K)
                    for k, view, K in zip((b, a), described, Ks, strict=True)
                )
                return best_rival(of_a, of_b, edge, pair, self.config, rng)
        return pair if pair and evidence(self._edges[key], pair) >= UNASKED else None

    def _refocus(self) -> None:
        """The focal length is decided anew; if it moves, views whose intrinsics are not given go onto its rays."""
        unknown = [k for k in self.keyframes if k.K is None]
        for k in unknown:
            self.view(k)
        if not unknown or not self.focal.decide():
            return
        for k in unknown:
            view = self._views[k.id]
            self._views[k.id] = replace(view, points=on_rays(view.points, self.focal.K(k)))
        self._edges |= {key: self._sampled(edge) for key, edge in self._edges.items() if edge}
        self._pairs |= {
            key: align_from(pair.T_ij, self._edges[key], self.config) or pair
            for key, pair in self._pairs.items()
            if pair
        }

    def settled(self, a: Keyframe, b: Keyframe, T_ab: Sim3) -> PairAlignment | None:
        """What the matches of an aligned pair say where the whole window has put it; None where they do not agree there."""
        edge = self._edges.get((a.id, b.id)) if self._pairs.get((a.id, b.id)) else None
        return measured(T_ab, edge, self.config) if edge else None

    def solve(self, rng: np.random.Generator) -> dict[int, Sim3]:
        """Poses T_Vk of the window's keyframes in one frame V, that of the first keyframe it could connect from.

        A maximum spanning tree over the pairs' agreeing matches starts them, a joint refinement over all matches of aligned
        pairs settles them, and bends new pointmaps to agree. Keyframes that no aligned pair connects are left out.
        """
        together = list(combinations(self.keyframes, 2))
        for a, b in together:
            self.pair(a, b, rng)
        self._refocus()  # by what these pairs say
        found = {(a.id, b.id): p for a, b in together if (p := self._pairs[a.id, b.id])}
        root = self.keyframes[0].id
        poses = {root: Sim3.identity()}
        while True:
            reach = [(p.count, k, p) for k, p in found.items() if (k[0] in poses) != (k[1] in poses)]
            if not reach:
                break
            _, (i, j), p = max(reach, key=lambda r: r[0])
            if i in poses:
                poses[j] = poses[i] @ p.T_ij
            else:
                poses[i] = poses[j] @ p.T_ij.inverse()
        edges = [
            e for k, e in self._edges.items() if e is not None and found.get(k) and set(k) <= poses.keys()
        ]
        if edges:
            edges = [self._sampled(e) for e in edges]
            loose = self._loose(poses)  # bending takes all matches, from a start
            start = refine(poses, map(thinned, edges) if loose else edges, {root}, self.config)
            poses = self._bend(start, edges, root, loose) if loose else start
            self._edges |= {(e.i, e.j): self._sampled(e) for e in edges}
        return poses

    def _loose(self, poses: dict[int, Sim3]) -> set[int]:
        """The keyframes whose pointmaps may bend: those that the map does not hold yet.

        Only those of a camera whose intrinsics are given: wrong rays would be taken for wrong depths.
        """
        return {k.id for k in self.keyframes if k.T_WK is None and k.K is not None and k.id in poses}

    def _bend(
        self, poses: dict[int, Sim3], edges: list[PixelEdge], root: int, loose: set[int]
    ) -> dict[int, Sim3]:
        """The poses with which the pointmaps agree once those of `loose` have bent."""
        poses, grids = bend(poses, edges, {root}, loose, self.bending, self.config)
        for k, grid in grids.items():
            view = self._views[k]
            points = view.points * factors(grid, view.size)[..., None]
            self._views[k] = replace(view, points=points)
        return poses

    def _sampled(self, edge: PixelEdge) -> PixelEdge:
        """The edge with its points as the pointmaps are now."""
        key = (edge.i, edge.j)
        before, self._read[key] = self._read[key], tuple(self._views[k].points for k in key)
        if all(now is then for now, then in zip(self._read[key], before, strict=True)):
            return edge
        sides = zip(self._read[key], before, (edge.Xi, edge.Xj), (edge.uv_i, edge.uv_j), strict=True)
        Xi, Xj = (X if now is then else points_at(now, uv) for now, then, X, uv in sides)
        return replace(edge, Xi=Xi, Xj=Xj)

    def place(self, poses: dict[int, Sim3], rng: np.random.Generator) -> tuple[Sim3, float] | None:
        """T_WV, and the median relative misfit of what the map holds of the window. None if it holds no keyframe of it.

        The same pixels of a shared keyframe have a place in the map and one in the window: a confidence-weighted robust
        Sim(3) takes one to the other, and its misfit tells whether the window fits. The newest shared keyframe then stays
        where it stands: what follows it is nearest to it, and an older one's errors would bend the path away from it.
        """
        X, Y, w = [], [], []
        for k in self.keyframes:
            if k.T_WK is not None and k.id in poses:
                view, newest = self.view(k), k
                P, c = view.points.reshape(-1, 3), view.confidence.ravel()
                pick = rng.integers(len(P), size=SHARED_SAMPLES)
                pick = pick[np.isfinite(P[pick]).all(1)]
                some = P[pick].astype(float)
                X.append(poses[k.id].apply(some))
                Y.append(k.T_WK.apply(some))
                w.append(c[pick].astype(float))
        if not X:
            return None
        _, misfit = robust_umeyama(np.concatenate(X), np.concatenate(Y), np.concatenate(w))
        return newest.T_WK @ poses[newest.id].inverse(), float(np.median(misfit))
