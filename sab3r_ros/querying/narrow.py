"""From all chairs to the one that is meant: size, place and part of a located thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sab3r_ros.querying.language import Request
from sab3r_ros.querying.objects import point_on, spread, upright_box
from sab3r_ros.querying.relations import DEGREES, SIDES, between_degree, gap, seen_degree
from sab3r_ros.types import LocatedObject, MapSnapshot

Objects = list[LocatedObject]

# Parts that a height range tells, as shares of the object's height.
PART_HEIGHTS = {
    "top": (0.8, 1.0),
    "surface": (0.8, 1.0),
    "lid": (0.8, 1.0),
    "headrest": (0.8, 1.0),
    "shade": (0.6, 1.0),
    "backrest": (0.55, 1.0),
    "seat": (0.3, 0.6),
    "leg": (0.0, 0.4),
    "base": (0.0, 0.25),
    "bottom": (0.0, 0.25),
}
WRONG_SIZE = 0.6  # factor for the candidate that is farthest from the size that was asked for


class Narrower:
    """Applies what a request says beyond the thing's name and colour. Each step scales a score by a degree 0..1, and may
    leave a note for people.

    find: a thing's name → its objects in the same map, best first.
    """

    def __init__(self, snapshot: MapSnapshot, find: Callable[[str], Objects]) -> None:
        self.snapshot, self.find = snapshot, find
        self.notes: list[str] = []

    def narrow(self, request: Request, objects: Objects) -> Objects:
        """Best first."""
        if request.size:
            objects = self._by_size(request, objects)
        if request.relation:
            objects = self._by_place(request, objects)
        objects = sorted(objects, key=lambda o: (-o.score, -len(o.indices)))
        if request.part and objects:
            objects = [self._part(request.part, o) for o in objects]
            known = request.part in PART_HEIGHTS
            self.notes.append(
                f"'{request.part}' is cut out by height"
                if known
                else f"'{request.part}' not told apart: the whole is given"
            )
        return objects

    def _by_size(self, request: Request, objects: Objects) -> Objects:
        what, sign = request.size  # type: ignore[misc]
        measure = {"volume": lambda s: s.prod(), "height": lambda s: s[2], "length": lambda s: s[:2].max()}[
            what
        ]
        value = np.array([sign * np.log(max(float(measure(o.box_size)), 1e-6)) for o in objects])
        if len(objects) < 2 or np.ptp(value) < 0.1:
            return objects
        if request.superlative:
            return [objects[int(value.argmax())]]
        share = (value.max() - value) / np.ptp(value)  # 0 at the extreme that was asked for
        return [
            replace(o, score=o.score * (1 - (1 - WRONG_SIZE) * float(s)))
            for o, s in zip(objects, share, strict=True)
        ]

    def _by_place(self, request: Request, objects: Objects) -> Objects:
        anchors = [self._anchor_points(name, objects) for name in request.anchors]
        missing = [n for n, points in zip(request.anchors, anchors, strict=True) if not points]
        if missing or (request.relation == "between" and len(anchors) < 2):
            lost = f"no '{missing[0]}' was found" if missing else "'between' needs two things"
            self.notes.append(f"{lost}, so '{request.place}' was left out")
            return objects
        points = [self.snapshot.points_of(o.indices) for o in objects]
        if request.relation in ("nearest", "farthest"):
            gaps = [min(gap(p, a) for a in anchors[0]) for p in points]
            pick = int(np.argmin(gaps) if request.relation == "nearest" else np.argmax(gaps))
            return [objects[pick]]
        if request.relation == "between":
            degrees = [max(between_degree(p, a, b) for a in anchors[0] for b in anchors[1]) for p in points]
        elif request.relation in SIDES:
            eye = self.snapshot.trajectory.T_WC[:, :3, 3].mean(0)
            degrees = [max(seen_degree(request.relation, p, a, eye) for a in anchors[0]) for p in points]
            self.notes.append(f"'{request.place}' as seen from the middle of the camera's path")
        else:
            degrees = [max(DEGREES[request.relation](p, a) for a in anchors[0]) for p in points]
        if max(degrees) < 0.5:
            away = min(gap(p, a) for p in points for a in anchors[0])
            self.notes.append(
                f"{len(objects)} '{request.named}' found, none {request.place} (the nearest is {away:.2f} m away)"
            )
        return [replace(o, score=o.score * d) for o, d in zip(objects, degrees, strict=True)]

    def _anchor_points(self, name: str, objects: Objects) -> list[np.ndarray]:
        """The points of each anchor that is not one of the things themselves."""
        taken = np.concatenate([o.indices for o in objects]) if objects else np.zeros(0, np.int64)
        found = [o for o in self.find(name) if np.isin(o.indices, taken).mean() < 0.5]
        return [self.snapshot.points_of(o.indices) for o in found]

    def _part(self, part: str, o: LocatedObject) -> LocatedObject:
        """The object cut to the height range of a part; whole if that is unknown or holds too little."""
        low, high = PART_HEIGHTS.get(part, (0.0, 1.0))
        z = self.snapshot.points_of(o.indices)[:, 2]
        share = (z - z.min()) / max(float(np.ptp(z)), 1e-6)
        rows = o.indices[(share >= low) & (share <= high)]
        if len(rows) < 3:
            return o
        points = self.snapshot.points_of(rows[spread(len(rows))])
        box, center = upright_box(points), point_on(points, np.ones(len(points)))
        changes = {"box_center": box.center, "box_R": box.R, "box_size": box.size, "indices": rows}
        return replace(o, centroid=center, sample=points, **changes)
