"""Peers' scoring rules, in readable versions. A voxel counts from a threshold on; connected voxels are an object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.querying.locate import Locator, Search
from sab3r_ros.querying.objects import without_crumbs
from sab3r_ros.querying.score import PhraseSet
from sab3r_ros.querying.split import separate
from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.querying.vocabulary import CANONICAL
from sab3r_ros.types import MapSnapshot

JOIN_M = 0.1  # voxels in touching cells of this edge belong together …
FINE_M = 0.06  # … unless bodies come apart in cells of this edge


def top_mean(values: np.ndarray, share: float) -> float:
    """Mean of the highest `share` of values, at least one."""
    return float(np.sort(values)[-max(1, int(np.ceil(share * len(values)))) :].mean())


def itself(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """These rules look at voxels, each a cell of its own."""
    return rows, np.arange(len(rows))


class PlainCosine(Locator):
    """The cosine, as it is."""

    asked: tuple[str, ...] = ()

    def likeness(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        """(N, D) → (N,) 0..1."""
        return self.scorer.cosines(features, phrases.directions[:, :1])[:, 0].clip(0, 1)

    def directions(self, words: list[str]) -> np.ndarray:
        return self.scorer.basis.T @ self.scorer.text.encode(words).T

    def _search(self, snapshot: MapSnapshot, phrases: PhraseSet, threshold: float) -> Search:
        likeness = self.likeness(snapshot.features_of(np.arange(len(snapshot))), phrases)
        rows = np.flatnonzero(likeness >= threshold)
        points, c, one = snapshot.points_of(rows), self.config, np.ones(len(rows), int)
        piece = separate(points, JOIN_M, max(FINE_M, 2 * snapshot.voxel_size_m))
        parts = [np.flatnonzero(piece == p) for p in np.unique(piece)]
        parts = without_crumbs(parts, points, one, c.min_voxels, c.min_part, c.crumb_reach_m)
        things = [(top_mean(likeness[rows[p]], c.top_share), rows[p], likeness[rows[p]]) for p in parts]
        return Search(phrases, likeness, sorted(things, key=lambda t: -t[0]), itself)


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
) -> Locator:
    """A locator with a peer's rule and a threshold chosen for it on the validation rooms."""
    locator = kind(basis, text, replace(LocateConfig(), min_score=threshold))
    locator.asked = asked
    return locator
