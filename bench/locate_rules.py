"""Peers' scoring rules, in readable versions, behind the same voxels → objects step: only the rule differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.score import PhraseSet, Scorer
from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.querying.vocabulary import CANONICAL
from sab3r_ros.types import MapSnapshot


class PlainRule(Scorer):
    """Cosine, as it is. A voxel counts from the threshold on; the score is the cosine."""

    def prepare(self, snapshot: MapSnapshot, before=None):
        return SameFeatures(snapshot)

    def likely(self, prepared: SameFeatures, phrases: PhraseSet, least: float):
        share = self.share(prepared.snapshot.features_of(np.arange(len(prepared.snapshot))), phrases)
        rows = np.flatnonzero(share >= least)
        return rows, share[rows], share

    def share(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        return self.cosines(features, phrases.directions[:, :1])[:, 0].clip(0, 1)

    def score(self, share):
        return share

    def share_of(self, score: float) -> float:
        return score


class SameFeatures:
    """These rules prepare nothing."""

    def __init__(self, snapshot: MapSnapshot) -> None:
        self.snapshot = snapshot


class QuerySoftmax(PlainRule):
    """RayFronts: softmax of 100 · cosine over the queries that are asked in the room."""

    asked: tuple[str, ...] = ()

    def share(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        others = [q for q in self.asked if q != phrases.names[0]]
        directions = np.concatenate([phrases.directions[:, :1], self.basis.T @ self.text.encode(others).T], 1)
        logits = 100 * self.cosines(features, directions)
        return 1 / np.exp(np.minimum(logits - logits[:, :1], 80)).sum(1)


class LerfRelevancy(PlainRule):
    """LERF: the least softmax of 10 · cosine against each canonical phrase."""

    def share(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        directions = self.basis.T @ self.text.encode(list(CANONICAL)).T
        logits = 10 * self.cosines(features, np.concatenate([phrases.directions[:, :1], directions], 1))
        return (1 / (1 + np.exp(logits[:, 1:] - logits[:, :1]))).min(1)


PEERS = {"cosine": PlainRule, "query-set softmax": QuerySoftmax, "LERF relevancy": LerfRelevancy}


def peer(
    kind: type[PlainRule], basis: np.ndarray, text: TextEncoder, threshold: float, asked: tuple[str, ...]
) -> Locator:
    """A locator with a peer's rule and a threshold chosen for it on the validation rooms."""
    config = replace(LocateConfig(), min_score=threshold, voxel_share=1.0)
    locator = Locator(basis, text, config)
    locator.scorer = kind(basis, text, config)
    if isinstance(locator.scorer, QuerySoftmax):
        locator.scorer.asked = asked
    return locator
