"""How likely each voxel is what was asked for.

A cosine alone has no zero: what is "high" differs from query to query. So the query competes in a softmax
with what else the voxel may be: canonical phrases (LERF), the room's background, the request's distractors
and the nouns of indoor scenes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.querying.text import TextEncoder, normalise
from sab3r_ros.querying.vocabulary import BACKGROUND, CANONICAL, INDOOR

BLOCK = 1 << 15  # voxels at a time: the scores of a block stay in the cache


@dataclass(frozen=True)
class PhraseSet:
    """A query and its competitors. names: (P,), the query first. directions: (D, P) float32, basisᵀ @ text
    vector.
    """

    names: tuple[str, ...]
    directions: np.ndarray


class Scorer:
    """Probabilities of a text for stored features.

    basis: (L, D) float32, the language vector of a stored feature f (D,) is basis @ f. text: encoder of the
    same space.
    """

    def __init__(self, basis: np.ndarray, text: TextEncoder, config: LocateConfig) -> None:
        self.basis, self.text, self.config = np.asarray(basis, np.float32), text, config
        self.gram = self.basis.T @ self.basis  # (D, D): fᵀ gram f is the squared length of basis @ f

    def phrases(self, query: str, distractors: tuple[str, ...] = ()) -> PhraseSet:
        """The query against everything that does not mean nearly the same. Distractors always compete."""
        asked = normalise(query)
        fixed = [d for d in dict.fromkeys(normalise(d) for d in distractors) if d and d != asked]
        pool = [w for w in dict.fromkeys(CANONICAL + BACKGROUND + INDOOR) if w != asked and w not in fixed]
        vectors = self.text.encode([asked, *fixed, *pool])
        near = vectors @ vectors[0] > self.config.synonym_cosine
        keep = [k for k in range(len(vectors)) if k <= len(fixed) or not near[k]]
        names = [asked, *fixed, *pool]
        return PhraseSet(tuple(names[k] for k in keep), self.basis.T @ vectors[keep].T)

    def cosines(self, features: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(N, D) features, (D, P) directions → (N, P) float32 cosines of the language vectors. A zero
        feature gives zeros.
        """
        f = features.astype(np.float32)
        length = np.sqrt(np.maximum(np.einsum("nd,nd->n", f @ self.gram, f), 1e-12))
        return (f @ directions) / length[:, None]

    def probability(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        """(N, D) float16 features → (N,) float32 in 0..1: the softmax's share of the query, at the
        configured temperature.
        """
        out = np.empty(len(features), np.float32)
        for start in range(0, len(features), BLOCK):
            part = slice(start, start + BLOCK)
            logits = self.cosines(features[part], phrases.directions) / np.float32(self.config.temperature)
            out[part] = 1 / np.exp(logits - logits[:, :1]).sum(1)
        return out

    def looks_like(self, feature: np.ndarray, phrases: PhraseSet) -> tuple[str, float]:
        """The competitor that a feature (D,) is nearest to, and its probability without the query."""
        cosine = self.cosines(feature[None], phrases.directions[:, 1:])[0]
        share = np.exp((cosine - cosine.max()) / self.config.temperature)
        return phrases.names[1 + int(cosine.argmax())], float(1 / share.sum())
