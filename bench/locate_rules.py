"""Peers' scoring rules, in readable versions. A voxel counts from a threshold on; connected voxels are an object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.querying.objects import point_on, upright_box, without_crumbs
from sab3r_ros.querying.regions import top_mean
from sab3r_ros.querying.score import PhraseSet, Scorer
from sab3r_ros.querying.split import separate
from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.querying.vocabulary import CANONICAL
from sab3r_ros.types import LocateAnswer, LocatedObject, MapSnapshot

JOIN_M = 0.1  # voxels in touching cells of this edge belong together …
FINE_M = 0.06  # … unless bodies come apart in cells of this edge


class PlainCosine:
    """The cosine, as it is. asked: the names that are asked for in the room."""

    def __init__(
        self, basis: np.ndarray, text: TextEncoder, config: LocateConfig, asked: tuple[str, ...]
    ) -> None:
        self.scorer, self.config, self.asked = Scorer(basis, text, config), config, asked

    def likeness(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        """(N, D) → (N,) 0..1."""
        return self.scorer.cosines(features, phrases.directions[:, :1])[:, 0].clip(0, 1)

    def directions(self, words: list[str]) -> np.ndarray:
        return self.scorer.basis.T @ self.scorer.text.encode(words).T

    def locate(self, snapshot: MapSnapshot, query: str) -> LocateAnswer:
        """The objects that a plain name may mean, best first."""
        phrases, c = self.scorer.phrases(query), self.config
        likeness = self.likeness(snapshot.features_of(np.arange(len(snapshot))), phrases)
        rows = np.flatnonzero(likeness >= c.min_score)
        points, one = snapshot.points_of(rows), np.ones(len(rows), int)
        piece = separate(points, JOIN_M, max(FINE_M, 2 * snapshot.voxel_size_m))
        parts = [np.flatnonzero(piece == p) for p in np.unique(piece)]
        parts = without_crumbs(parts, points, one, c.min_voxels, c.min_part, c.crumb_reach_m)
        found = []
        for part in parts:
            mine = rows[part]
            weight = np.maximum(snapshot.confidence_of(mine), 1e-6) * likeness[mine]
            box, center = upright_box(points[part]), point_on(points[part], weight)
            score = top_mean(likeness[mine], c.top_share)
            found.append(LocatedObject(query, score, center, box.center, box.R, box.size, mine))
        kept = tuple(sorted(found, key=lambda o: -o.score)[: c.max_objects])
        return LocateAnswer(bool(kept), "", kept, max((o.score for o in kept), default=0.0))


class QuerySoftmax(PlainCosine):
    """RayFronts: softmax of 100 · cosine over the queries that are asked in the room."""

    def likeness(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        others = self.directions([q for q in self.asked if q != phrases.names[0]])
        logits = 100 * self.scorer.cosines(features, np.concatenate([phrases.directions[:, :1], others], 1))
        return 1 / np.exp(np.minimum(logits - logits[:, :1], 80)).sum(1)


class LerfRelevancy(PlainCosine):
    """LERF: the least softmax of 10 · cosine against each canonical phrase."""

    def likeness(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        words = np.concatenate([phrases.directions[:, :1], self.directions(list(CANONICAL))], 1)
        logits = 10 * self.scorer.cosines(features, words)
        return (1 / (1 + np.exp(logits[:, 1:] - logits[:, :1]))).min(1)


PEERS = {"cosine": PlainCosine, "query-set softmax": QuerySoftmax, "LERF relevancy": LerfRelevancy}


def peer(
    kind: type[PlainCosine], basis: np.ndarray, text: TextEncoder, threshold: float, asked: tuple[str, ...]
) -> PlainCosine:
    """A locator with a peer's rule and a threshold chosen for it on the validation rooms."""
    return kind(basis, text, replace(LocateConfig(), min_score=threshold), asked)
