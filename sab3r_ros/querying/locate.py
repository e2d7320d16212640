"""`Locator`: a text query becomes the objects of the map that it names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.errors import QueryError
from sab3r_ros.mapping.map_file import SavedMap
from sab3r_ros.querying.objects import connected_pieces, point_on, top_mean, upright_box
from sab3r_ros.querying.score import PhraseSet, Scorer
from sab3r_ros.querying.text import TextEncoder, load_text_encoder, normalise
from sab3r_ros.types import LocateAnswer, LocatedObject, MapSnapshot


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
        probability = self.scorer.probability(snapshot.features, phrases)
        objects = self._objects(snapshot, label, probability, threshold * self.config.voxel_share)
        found = tuple(o for o in objects if o.score >= threshold)
        best = max((o.score for o in objects), default=float(probability.max()))
        if found:
            return LocateAnswer(True, found_message(label, found, most), found[:most], best)
        return LocateAnswer(
            False, self._miss_message(snapshot, label, phrases, probability, objects, threshold), (), best
        )

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
        self, snapshot: MapSnapshot, label: str, probability: np.ndarray, voxel_threshold: float
    ) -> list[LocatedObject]:
        """Connected pieces of the voxels at or above the threshold, large enough, best first."""
        likely = np.flatnonzero(probability >= max(voxel_threshold, 1e-6))
        pieces = connected_pieces(snapshot.points[likely], self.config.join_voxels * snapshot.voxel_size_m)
        order = np.argsort(pieces, kind="stable")
        objects = []
        for rows in np.split(likely[order], np.flatnonzero(np.diff(pieces[order])) + 1):
            if len(rows) >= self.config.min_voxels:
                points, confidence = snapshot.points[rows], snapshot.confidence[rows].astype(np.float64)
                weights = np.maximum(confidence, 1e-6) * probability[rows]
                box = upright_box(points)
                score = top_mean(probability[rows], np.maximum(confidence, 1e-6), self.config.top_share)
                centroid = point_on(points, weights)
                objects.append(LocatedObject(label, score, centroid, box.center, box.R, box.size, rows))
        return sorted(objects, key=lambda o: (-o.score, -len(o.indices)))

    def _miss_message(
        self,
        snapshot: MapSnapshot,
        label: str,
        phrases: PhraseSet,
        probability: np.ndarray,
        objects: list[LocatedObject],
        threshold: float,
    ) -> str:
        """What came nearest, where, and by how much it missed."""
        if objects:
            near, place, score = objects[0].indices, objects[0].centroid, objects[0].score
        else:
            near = np.argsort(probability)[-self.config.min_voxels :]
            place, score = snapshot.points[near[-1]], float(probability[near].mean())
        mean = snapshot.features[near].astype(np.float32).mean(0)
        name, _ = self.scorer.looks_like(mean, phrases)
        x, y, z = place
        return (
            f"no '{label}' found. Nearest: something like '{name}' at ({x:.2f}, {y:.2f}, {z:.2f}) m, "
            f"score {score:.2f}, {max(threshold - score, 0):.2f} under the {threshold:.2f} that is needed"
        )


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
