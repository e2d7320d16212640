"""`Locator`: a text query becomes the objects of the map that it names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.errors import QueryError
from sab3r_ros.mapping.map_file import SavedMap
from sab3r_ros.querying.objects import connected_pieces, point_on, top_mean, upright_box
from sab3r_ros.querying.prepared import PreparedMap
from sab3r_ros.querying.score import PhraseSet, Scorer
from sab3r_ros.querying.text import TextEncoder, load_text_encoder, normalise
from sab3r_ros.types import LocateAnswer, LocatedObject, MapSnapshot

ROUGH_MARGIN = 0.5  # the rough share may be wrong by this factor before a voxel is missed


class Locator:
    """Answers text queries from map snapshots.

    feature_basis: (L, D) float32 of the model that made the map. text: encoder of the same language space.
    Thread-safe as far as the encoder is: an answer depends on its arguments alone.
    """

    def __init__(
        self, feature_basis: np.ndarray, text: TextEncoder, config: LocateConfig | None = None
    ) -> None:
        self.config = config or LocateConfig()
        self.scorer = Scorer(feature_basis, text, self.config)
        self._last: PreparedMap | None = None

    def locate(
        self,
        snapshot: MapSnapshot,
        query: str,
        distractors: Sequence[str] = (),
        min_score: float | None = None,
        max_objects: int | None = None,
    ) -> LocateAnswer:
        """The objects that the query names, best first, and a message for people.

        distractors: phrases that the objects are not. min_score: 0..1, max_objects: ≥ 1; None means the
        configured ones.
        Raises QueryError if the query is empty or too long, or the map empty or without language features.
        """
        threshold = self.config.min_score if min_score is None else float(min_score)
        most = self.config.max_objects if max_objects is None else int(max_objects)
        label = self._checked(snapshot, query, threshold, most)
        phrases = self.scorer.phrases(label, tuple(distractors))
        prepared = self._prepared(snapshot)
        rough = self.scorer.rough_share(prepared, phrases)
        needed = self.scorer.share_of(threshold)
        objects = self._objects(snapshot, label, phrases, rough, needed * self.config.voxel_share)
        found = tuple(o for o in objects if o.score >= threshold)
        if found:
            return LocateAnswer(True, found_message(label, found, most), found[:most], found[0].score)
        return self._miss(snapshot, label, phrases, rough, objects, threshold)

    def _prepared(self, snapshot: MapSnapshot) -> PreparedMap:
        """The map's prepared features, remembered until another map is asked."""
        last = self._last
        if last is None or last.features is not snapshot.features:
            last = self._last = self.scorer.prepare(snapshot.features, last)
        return last

    def _checked(self, snapshot: MapSnapshot, query: str, threshold: float, most: int) -> str:
        """The normalised query. Raises QueryError."""
        label = normalise(query)
        if not label:
            raise QueryError("the query is empty: say what to look for, for example 'a black office chair'")
        if len(query) > self.config.max_query_length:
            raise QueryError(
                f"the query has {len(query)} characters, at most {self.config.max_query_length} are allowed: "
                "name one thing"
            )
        if not 0 <= threshold <= 1:
            raise QueryError(f"the minimum score is {threshold:g}: it must lie in 0..1")
        if most < 1:
            raise QueryError(f"at most {most} objects were asked for: ask for 1 or more")
        if len(snapshot.points) == 0:
            raise QueryError("the map is empty: show the camera some views of the room, then ask again")
        maker, has, speaks = snapshot.model_identity, snapshot.features.shape[1], self.scorer.basis.shape[1]
        if has == 0 or speaks == 0:
            raise QueryError(f"the map of model {maker} holds no language features: map with another model")
        if has != speaks:
            raise QueryError(
                f"the map's features have {has} dimensions, this model's {speaks}: "
                f"ask with the model that made the map ({maker})"
            )
        return label

    def _objects(
        self, snapshot: MapSnapshot, label: str, phrases: PhraseSet, rough: np.ndarray, least_share: float
    ) -> list[LocatedObject]:
        """Connected pieces of the voxels whose share is large enough, best first."""
        likely = np.flatnonzero(rough >= ROUGH_MARGIN * least_share)
        share = self.scorer.share(snapshot.features[likely], phrases)
        likely, share = likely[share >= least_share], share[share >= least_share]
        pieces = connected_pieces(snapshot.points[likely], max(self.config.join_m, snapshot.voxel_size_m))
        order = np.argsort(pieces, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(pieces[order])) + 1)
        least = max(self.config.min_voxels, self.config.min_part * max(map(len, parts)))
        objects = [self._object(snapshot, label, likely[p], share[p]) for p in parts if len(p) >= least]
        return sorted(objects, key=lambda o: (-o.score, -len(o.indices)))

    def _object(
        self, snapshot: MapSnapshot, label: str, rows: np.ndarray, share: np.ndarray
    ) -> LocatedObject:
        points, confidence = (
            snapshot.points[rows],
            np.maximum(snapshot.confidence[rows].astype(np.float64), 1e-6),
        )
        score = float(self.scorer.score(top_mean(share, confidence, self.config.top_share)))
        box = upright_box(points)
        return LocatedObject(
            label, score, point_on(points, confidence * share), box.center, box.R, box.size, rows
        )

    def _miss(
        self,
        snapshot: MapSnapshot,
        label: str,
        phrases: PhraseSet,
        rough: np.ndarray,
        objects: list[LocatedObject],
        threshold: float,
    ) -> LocateAnswer:
        """No object: the message says what came nearest, where, and by how much it missed."""
        if objects:
            near, place, score = objects[0].indices, objects[0].centroid, objects[0].score
        else:
            count = min(self.config.min_voxels, len(rough))
            near = np.argpartition(rough, len(rough) - count)[-count:]
            share = self.scorer.share(snapshot.features[near], phrases)
            place, score = snapshot.points[near[share.argmax()]], float(self.scorer.score(share.mean()))
        name = self.scorer.looks_like(snapshot.features[near].astype(np.float32).mean(0), phrases)
        x, y, z = place
        where = f"something like '{name}' at ({x:.2f}, {y:.2f}, {z:.2f}) m, score {score:.2f}"
        if score >= threshold:  # a few voxels that fit, too few or too far apart for an object
            where += f", but smaller than {self.config.min_voxels} voxels"
        else:
            where += f", {threshold - score:.2f} under the {threshold:.2f} that is needed"
        return LocateAnswer(False, f"no '{label}' found. Nearest: {where}", (), min(score, threshold))


def found_message(label: str, found: tuple[LocatedObject, ...], most: int) -> str:
    """'2 objects match 'mug'; the best at (1.20, 0.30, 0.75) m, score 0.93'."""
    x, y, z = found[0].centroid
    count = f"{len(found)} object{'s' if len(found) > 1 else ''}"
    shown = f", the first {most} returned" if len(found) > most else ""
    where = f"best at ({x:.2f}, {y:.2f}, {z:.2f}) m, score {found[0].score:.2f}"
    return f"{count} found for '{label}'{shown}; {where}"


def locator_of(saved: SavedMap, config: LocateConfig | None = None) -> Locator:
    """A locator for a loaded map; the network that made it is not needed. Raises QueryError if the map speaks no language."""
    if not saved.language:
        raise QueryError(
            f"the map of model {saved.model_identity} holds no language features: map with another model"
        )
    return Locator(saved.feature_basis, load_text_encoder(saved.language), config)
