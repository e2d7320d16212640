"""`Locator`: a text query becomes the objects of the map that it names."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.errors import QueryError
from sab3r_ros.mapping.map_file import SavedMap
from sab3r_ros.querying.colors import lab_in_light, seen_colors, white_of
from sab3r_ros.querying.language import COLORS, Request, parse
from sab3r_ros.querying.memory import ObjectMemory
from sab3r_ros.querying.messages import found_message, miss_message
from sab3r_ros.querying.narrow import Narrower
from sab3r_ros.querying.objects import MOST_POINTS, Box, point_on, upright_box
from sab3r_ros.querying.recent import Recent
from sab3r_ros.querying.regions import lab_of
from sab3r_ros.querying.score import Scorer
from sab3r_ros.querying.search import Search, Searcher
from sab3r_ros.querying.text import TextEncoder, load_text_encoder, normalise
from sab3r_ros.types import LocateAnswer, LocatedObject, MapSnapshot

RECENT_THINGS = 128  # whose box and place are remembered, 3 MB
SAME_THING = 0.5  # share of the smaller object's voxels from which two queries' objects are one thing
POINTED_M = 0.05  # voxels this near to the pointed one are what is pointed at
REACH_M = 0.3  # a point farther than this from the map points at nothing


class Locator:
    """Answers queries from map snapshots.

    feature_basis: (L, D) float32 of the model that made the map. text: encoder of the same language space.
    Thread-safe as far as the encoder is. Remembers the things it has found, so that they keep their ids.
    """

    def __init__(
        self, feature_basis: np.ndarray, text: TextEncoder, config: LocateConfig | None = None
    ) -> None:
        self.config = config or LocateConfig()
        self.scorer = Scorer(feature_basis, text, self.config)
        self.searcher = Searcher(self.scorer, self.config)
        self.memory = ObjectMemory()
        # Patterns and OpenCV's colour tables are made when they are first used, in 200 ms: now, not in a query.
        parse("the thing on the thing")
        lab_of(np.zeros((1, 3), np.float32))
        self._shapes: Recent[tuple[np.ndarray, Box, np.ndarray]] = Recent(RECENT_THINGS)

    def locate(
        self,
        snapshot: MapSnapshot,
        query: str,
        distractors: Sequence[str] = (),
        min_score: float | None = None,
        max_objects: int | None = None,
    ) -> LocateAnswer:
        """The objects that the query describes, best first, and a message for people.

        query: a thing, also with colour, size, part and place: "the black chair next to the desk". distractors: phrases
        that the objects are not. min_score: 0..1, max_objects: ≥ 1; None means the configured ones.
        Raises QueryError if the query is empty or too long, or the map empty or without language features.
        """
        threshold, most = self._limits(snapshot, min_score, max_objects)
        request = self.understood(query)

        def find(name: str) -> list[LocatedObject]:
            search = self.searcher.search(snapshot, self.scorer.phrases(name), threshold)
            return self._objects(snapshot, name, search, search.count(threshold))

        phrases = self.scorer.phrases(request.thing, tuple(distractors), request.color)
        search = self.searcher.search(snapshot, phrases, threshold, request.color)
        things, chosen = search.count(threshold), request.size or request.relation
        if not things:
            in_other_colors = find(request.thing) if request.color else []
            if in_other_colors:
                return self._miss_of_color(snapshot, request, search, in_other_colors, most)
            return self._miss(snapshot, request.label, search, threshold)
        candidates = self._objects(snapshot, request.label, search, things if chosen else min(things, most))
        narrower = Narrower(snapshot, find)
        objects = narrower.narrow(request, candidates)
        found = [o for o in objects if o.score >= threshold]
        count = len(found) if chosen else things
        message = found_message(request, things, objects, found, count, most, narrower.notes)
        kept = tuple(self.memory.identify(found[:most]))
        return LocateAnswer(bool(kept), message, kept, max(o.score for o in objects))

    def locate_all(
        self,
        snapshot: MapSnapshot,
        queries: Sequence[str],
        distractors: Sequence[str] = (),
        min_score: float | None = None,
        max_objects: int | None = None,
    ) -> LocateAnswer:
        """The objects of several queries at once, each labelled with its own, best first; max_objects of each.

        Where two queries found the same thing, it is the one's with the better score. Raises QueryError as `locate`.
        """
        if not queries:
            raise QueryError("the list of queries is empty: name one thing or more")
        _, most = self._limits(snapshot, min_score, max_objects)
        found: list[LocatedObject] = []
        counts, best = dict.fromkeys(queries, 0), 0.0
        for query in counts:
            answer = self.locate(snapshot, query, distractors, min_score, len(snapshot))
            found, best = found + list(answer.objects), max(best, answer.best_score)
        kept: list[LocatedObject] = []
        owner = np.full(len(snapshot), -1)
        for o in sorted(found, key=lambda o: -o.score):
            taken = np.unique(owner[o.indices], return_counts=True)
            same = any(
                k >= 0 and n > SAME_THING * min(len(o.indices), len(kept[k].indices))
                for k, n in zip(*taken, strict=True)
            )
            query = next(q for q in counts if parse(q).label == o.label)
            if not same and counts[query] < most:
                counts[query] += 1
                owner[o.indices] = len(kept)
                kept.append(o)
        message = "; ".join(f"{n} '{normalise(query)}'" for query, n in counts.items())
        return LocateAnswer(bool(kept), f"found {message}", tuple(kept), best)

    def at_point(
        self, snapshot: MapSnapshot, point: np.ndarray, max_objects: int | None = None
    ) -> LocateAnswer:
        """What is at a point (3,) of the map frame, metres, and where else is something like it?

        The thing that was pointed at comes first. Raises QueryError if nothing is mapped within REACH_M of it.
        """
        _, most = self._limits(snapshot, None, max_objects)
        point = np.asarray(point, np.float32)
        distance = np.linalg.norm(snapshot.points - point, axis=1)
        nearest = int(distance.argmin())
        if not distance[nearest] <= REACH_M:
            raise QueryError(
                f"nothing is mapped within {REACH_M} m of ({point[0]:.2f}, {point[1]:.2f}, {point[2]:.2f}) m: "
                "point at a thing in the map"
            )
        around = np.linalg.norm(snapshot.points - snapshot.points[nearest], axis=1) <= max(
            POINTED_M, 2 * snapshot.voxel_size_m
        )
        vector = self.scorer.language(snapshot.features_of(np.flatnonzero(around)))
        name = self.scorer.nearest_word(vector)
        answer = self.like(snapshot, vector, name, max_objects=len(snapshot))
        here = [o for o in answer.objects if nearest in o.indices]
        others = [o for o in answer.objects if nearest not in o.indices]
        objects = tuple((here + others)[:most])
        said = (
            f"this looks like '{name}'"
            if here
            else f"this looks like '{name}', too little of it for an object"
        )
        return LocateAnswer(bool(here), f"{said}; {len(others)} more like it", objects, answer.best_score)

    def like(
        self,
        snapshot: MapSnapshot,
        vector: np.ndarray,
        label: str,
        min_score: float | None = None,
        max_objects: int | None = None,
    ) -> LocateAnswer:
        """The objects whose language vector is like a unit vector (L,), for example of an image (`image_vector`)."""
        threshold, most = self._limits(snapshot, min_score, max_objects)
        search = self.searcher.search(snapshot, self.scorer.against(label, vector), threshold)
        count = search.count(threshold)
        if not count:
            return self._miss(snapshot, label, search, threshold)
        found = self._objects(snapshot, label, search, min(count, most))
        message = found_message(Request(label, label), count, found, found, count, most, [])
        return LocateAnswer(True, message, tuple(self.memory.identify(found)), found[0].score)

    def _limits(
        self, snapshot: MapSnapshot, min_score: float | None, max_objects: int | None
    ) -> tuple[float, int]:
        """(threshold, most). Raises QueryError if they make no sense or the map cannot be asked."""
        threshold = self.config.min_score if min_score is None else float(min_score)
        most = self.config.max_objects if max_objects is None else int(max_objects)
        if not 0 <= threshold <= 1:
            raise QueryError(f"the minimum score is {threshold:g}: it must lie in 0..1")
        if most < 1:
            raise QueryError(f"at most {most} objects were asked for: ask for 1 or more")
        if len(snapshot) == 0:
            raise QueryError("the map is empty: show the camera some views of the room, then ask again")
        maker, has, speaks = snapshot.model_identity, snapshot.feature_dim, self.scorer.basis.shape[1]
        if has == 0 or speaks == 0:
            raise QueryError(f"the map of model {maker} holds no language features: map with another model")
        if has != speaks:
            raise QueryError(
                f"the map's features have {has} dimensions, this model's {speaks}: "
                f"ask with the model that made the map ({maker})"
            )
        return threshold, most

    def understood(self, query: str) -> Request:
        """What a query asks for. Raises QueryError if the query is empty or too long."""
        if len(query) > self.config.max_query_length:
            raise QueryError(
                f"the query has {len(query)} characters, at most {self.config.max_query_length} are allowed: "
                "name one thing"
            )
        if not normalise(query):
            raise QueryError("the query is empty: say what to look for, for example 'a black office chair'")
        return parse(query)

    def prepare(self, snapshot: MapSnapshot) -> None:
        """Compute now what all queries of this map share, so that the next one is answered sooner."""
        self.searcher.prepared(snapshot)

    def _objects(self, snapshot: MapSnapshot, label: str, search: Search, count: int) -> list[LocatedObject]:
        """The first things of a search, whole. Box and centroid of the same points are computed once."""
        out = []
        for score, part in search.things[:count]:
            cells, share = search.cells_of(part)
            rows, points, confidence, cell = search.prepared.thing_of(cells, MOST_POINTS)
            weight = np.maximum(confidence, 1e-6) * share[cell]
            key = blake2b(points.tobytes() + weight.tobytes()).digest()
            shape = self._shapes.get(key)
            if shape is None:
                shape = point_on(points, weight), upright_box(points), points
                self._shapes.put(key, shape)
            center, box, points = shape
            out.append(LocatedObject(label, score, center, box.center, box.R, box.size, rows, sample=points))
        return out

    def _miss_of_color(
        self, snapshot: MapSnapshot, request: Request, search: Search, others: list[LocatedObject], most: int
    ) -> LocateAnswer:
        """No object in that colour: the message says which others there are."""
        white = white_of(snapshot)
        medians = [np.median(lab_in_light(snapshot.colors_of(o.indices), white), axis=0) for o in others]
        looks = ", ".join(dict.fromkeys(COLORS[k] for k in seen_colors(np.array(medians)).argmax(1)))
        note = f"every '{request.thing}' looks {looks} rather than {request.color}"
        message = found_message(request, len(others), others, [], 0, most, [note])
        return LocateAnswer(False, message, (), search.things[0][0] if search.things else 0.0)

    def _miss(self, snapshot: MapSnapshot, label: str, search: Search, threshold: float) -> LocateAnswer:
        """No object: the message says what came nearest, where, and by how much it missed."""
        if search.things:
            (nearest,) = self._objects(snapshot, label, search, 1)
            near, place, score = nearest.indices, nearest.centroid, nearest.score
        else:
            nearest = self.scorer.nearest(search.prepared, search.phrases, self.config.min_voxels)
            near, _ = search.prepared.rows_of(nearest)
            share = self.scorer.share(snapshot.features_of(near), search.phrases)
            place, score = snapshot.points_of(near)[share.argmax()], float(share.mean())
        name = self.scorer.looks_like(snapshot.features_of(near).astype(np.float32).mean(0), search.phrases)
        message = miss_message(label, name, place, score, threshold, self.config.min_voxels)
        return LocateAnswer(False, message, (), min(score, threshold))


def locator_of(saved: SavedMap, config: LocateConfig | None = None) -> Locator:
    """A locator for a loaded map; the network that made it is not needed. Raises QueryError if the map speaks no language."""
    if not saved.language:
        raise QueryError(
            f"the map of model {saved.model_identity} holds no language features: map with another model"
        )
    return Locator(saved.feature_basis, load_text_encoder(saved.language), config)
