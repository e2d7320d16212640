"""How likely each cell is what was asked for.

A cosine alone has no zero: what is "high" differs from query to query. So the query competes in a softmax
with what else the cell may be: canonical phrases (LERF), the room's background, the request's distractors
and the nouns of indoor scenes. What is known of a candidate region becomes a score by the weights of its language space
(calibration.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sab3r_ros.config import LocateConfig
from sab3r_ros.querying.calibration import calibration_of
from sab3r_ros.querying.compiled import Known
from sab3r_ros.querying.prepared import BLOCK, MapIndex, PreparedMap
from sab3r_ros.querying.recent import Recent
from sab3r_ros.querying.regions import Regions
from sab3r_ros.querying.sketch import Sketcher
from sab3r_ros.querying.text import TextEncoder, normalise
from sab3r_ros.querying.vocabulary import BACKGROUND, CANONICAL, INDOOR
from sab3r_ros.types import MapSnapshot

POOL = tuple(dict.fromkeys(CANONICAL + BACKGROUND + INDOOR))
LEAST_REST = (
    1e-5  # of the pool's competition: what rounding leaves certain when nearly all of it is taken out
)
COMMONER = 4.0  # a map holds so much more of what is BACKGROUND, as a length
RECENT = 16  # queries whose cells are remembered: asked again, only what is new in the map is looked at
LEAST_CELL = 1.25  # edge of a cell, in voxels
ROUNDING = 0.01  # in the logarithm of a share, of what is rounded and summed in another order
MOST_FADE = (
    1.0  # a whole thing is weaker than its best part by about so much; what fades more holds other things
)
MOST_LEAD = -2.0  # a candidate far behind the best one is not worth less for being farther …
MOST_COMMON = 2.0  # … nor one in a map where a hundredth is surely what was asked for, for being surer
SMALL = 150  # cells: a candidate of fewer may be a piece of a thing, one of more is no surer for being larger


@dataclass(frozen=True)
class Found:
    """Cells that reach a share, of the blocks that were looked at; they stay true while the map changes.

    serials: (K,) of these blocks, ascending. counts: (K,) cells in each. offsets: (N,) these cells', from their block's first,
    block after block, ascending. share: (N,) what they reach.
    """

    serials: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    share: np.ndarray

    @staticmethod
    def nothing() -> Found:
        return Found(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.int32, np.float32)))

    def places(self, prepared: PreparedMap) -> np.ndarray:
        """(K,) which of a map's blocks each is, −1 if it is none of them."""
        place = np.searchsorted(prepared.serials, self.serials)
        known = np.append(prepared.serials, -1)[place] == self.serials
        return np.where(known, place, -1)

    def and_of(
        self, prepared: PreparedMap, blocks: np.ndarray, cells: np.ndarray, share: np.ndarray
    ) -> Found:
        """The same, and a map's cells (M,), ascending, of some other blocks (B,) bool; without the blocks that were swept out."""
        own = prepared.cells.own
        counts = np.diff(np.searchsorted(cells, own))
        kept = (self.places(prepared) >= 0) | (self.serials > prepared.serials[-1])
        inside = np.repeat(kept, self.counts)
        serials = np.concatenate([self.serials[kept], prepared.serials[blocks]])
        counts = np.concatenate([self.counts[kept], counts[blocks]])
        order = np.argsort(np.repeat(serials, counts), kind="stable")
        offsets = np.concatenate([self.offsets[inside], cells - own[prepared.cells.blocks_of(cells)]])
        blocks_order = np.argsort(serials)
        share = np.concatenate([self.share[inside], share])
        return Found(serials[blocks_order], counts[blocks_order], offsets[order], share[order])


@dataclass(frozen=True)
class PhraseSet:
    """A query and its competitors. names: (P,), the query first, then the distractors, then the nouns.

    directions: (D, P) float32, basisᵀ @ text vector. taken: (R,) numbers of the pool's nouns that mean nearly the same
    and do not compete. distractors: how many.
    """

    names: tuple[str, ...]
    directions: np.ndarray
    taken: np.ndarray
    distractors: int

    @cached_property
    def key(self) -> tuple[bytes, bytes]:
        """The same for what means the same."""
        return self.directions[:, : 1 + self.distractors].tobytes(), self.taken.tobytes()


def traits(regions: Regions, common: float) -> np.ndarray:
    """(R, len(TRAITS)) in the order of TRAITS, of a map's candidates for one query.

    common: logit that the most likely hundredth of the whole map reaches. It and `lead`, the strength less that of the best
    candidate, let the map itself compete: where much of it fits as well, a candidate is worth less.
    """
    strength, size = regions.strength, np.log(regions.size)
    return np.stack(
        [
            strength,
            np.minimum(strength - regions.mean, MOST_FADE),
            np.maximum(strength - strength.max(initial=-np.inf), MOST_LEAD),
            np.full(len(regions), min(common, MOST_COMMON)),
            size,
            np.log(regions.fill),
            np.minimum(size - np.log(SMALL), 0),
        ],
        1,
    )


class Scorer:
    """Probabilities of a text for stored features.

    basis: (L, D) float32, the language vector of a stored feature f (D,) is basis @ f. text: encoder of the
    same space.
    """

    def __init__(self, basis: np.ndarray, text: TextEncoder, config: LocateConfig) -> None:
        self.basis, self.text, self.config = np.asarray(basis, np.float32), text, config
        self.gram = self.basis.T @ self.basis  # (D, D): fᵀ gram f is the squared length of basis @ f
        self.pool_vectors = text.encode(list(POOL))
        self.pool = self.basis.T @ self.pool_vectors.T  # (D, P) directions of the nouns
        self.temperature = config.temperature * text.spread
        self.calibration = calibration_of(text.space)
        self._asked: Recent[PhraseSet] = Recent(RECENT)
        self._found: Recent[Found] = Recent(RECENT)
        often = np.where([word in BACKGROUND for word in POOL], COMMONER, 1.0)
        sketcher = Sketcher(self.gram, self.pool * often)
        self.index = MapIndex(self.gram, self.pool, self.temperature, sketcher)
        self.synonym_cosine = 1 - (1 - config.synonym_cosine) * text.spread

    def phrases(self, query: str, distractors: tuple[str, ...] = (), color: str = "") -> PhraseSet:
        """The query against everything that does not mean nearly the same. Distractors always compete.

        color: that it is asked for in. The network may have learnt the phrase with it: the mean of both vectors is asked.
        """
        known = self._asked.get((query, distractors, color))
        if known is None:
            vector = self.text.encode([query, f"{color} {query}"] if color else [query]).mean(0)
            known = self.against(
                normalise(query), vector / max(float(np.linalg.norm(vector)), 1e-9), distractors
            )
            self._asked.put((query, distractors, color), known)
        return known

    def against(self, name: str, vector: np.ndarray, distractors: tuple[str, ...] = ()) -> PhraseSet:
        """The same for a unit vector (L,) of the language space, which need not come from words."""
        fixed = [d for d in dict.fromkeys(normalise(d) for d in distractors) if d and d != name]
        own = np.concatenate([vector[None].astype(np.float32), self.text.encode(fixed)])
        near = self.pool_vectors @ own[0] > self.synonym_cosine
        near |= np.array(
            [word.endswith(name) or word in fixed for word in POOL]
        )  # a bedside table is a table
        names = (name, *fixed, *(word for word, taken in zip(POOL, near, strict=True) if not taken))
        vectors = np.concatenate([own, self.pool_vectors[~near]])
        return PhraseSet(names, self.basis.T @ vectors.T, np.flatnonzero(near), len(fixed))

    def language(self, features: np.ndarray) -> np.ndarray:
        """(M, D) stored features of one thing → (L,) unit mean of their language vectors; zeros stay zeros."""
        mean = self.basis @ features.astype(np.float32).mean(0)
        return mean / max(float(np.linalg.norm(mean)), 1e-9)

    def nearest_word(self, vector: np.ndarray) -> str:
        """The indoor noun nearest to a language vector (L,)."""
        return POOL[int((self.pool_vectors @ vector).argmax())]

    def cosines(self, features: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(N, D) features, (D, P) directions → (N, P) float32 cosines of the language vectors.

        A zero feature gives zeros.
        """
        f = features.astype(np.float32)
        length = np.sqrt(np.maximum(np.einsum("nd,nd->n", f @ self.gram, f), 1e-12))
        return (f @ directions) / length[:, None]

    def share(self, features: np.ndarray, phrases: PhraseSet) -> np.ndarray:
        """(N, D) float16 features → (N,) float32 in 0..1: the query's share of the softmax, exactly."""
        out = np.empty(len(features), np.float32)
        for start in range(0, len(features), BLOCK):
            part = slice(start, start + BLOCK)
            logits = self.cosines(features[part], phrases.directions) / np.float32(self.temperature)
            out[part] = 1 / np.exp(logits - logits[:, :1]).sum(1)
        return out

    def prepare(self, snapshot: MapSnapshot) -> PreparedMap:
        """What all queries of a map share; what it shares with the maps before costs nothing."""
        return self.index.prepare(snapshot, max(self.config.cell_m, LEAST_CELL * snapshot.voxel_size_m))

    def likely(
        self, prepared: PreparedMap, phrases: PhraseSet, least: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cells whose `share` is at least `least` (0..1, exclusive), ascending, and their shares.

        A query that was asked lately is asked of the cells that have come since.
        """
        known = self._found.get((phrases.key, least)) or Found.nothing()
        place = known.places(prepared)
        new = prepared.starts >= 0
        new[place[place >= 0]] = False
        if new.any():
            known = known.and_of(prepared, new, *self._looked(prepared, phrases, least, new))
            self._found.put((phrases.key, least), known)
            place = known.places(prepared)
        alive = np.repeat((place >= 0) & (prepared.starts[place] >= 0), known.counts)
        cells = np.repeat(prepared.cells.own[place], known.counts) + known.offsets
        return cells[alive], known.share[alive]

    def nearest(self, prepared: PreparedMap, phrases: PhraseSet, wanted: int) -> np.ndarray:
        """The living cells, so many or all, that are nearest to the query, ascending."""
        query = phrases.directions[:, 0]
        known, (weights, slack) = self._known(prepared, prepared.starts >= 0), self._most(query)
        return prepared.cells.nearest(known, (weights, slack + ROUNDING), query, wanted)

    def _looked(
        self, prepared: PreparedMap, phrases: PhraseSet, least: float, blocks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`likely` of the cells of some living blocks (B,) bool.

        Sketches rule most cells out. Of the others one product of integers finds the cells that can reach it. Where the
        likeliest noun n competes with the query, no removed noun is likelier, so that the competitors hold at least
        1 / (removed + 1) of the pool.
        """
        rivals, removed = phrases.distractors, phrases.taken
        directions = np.concatenate([phrases.directions[:, : 1 + rivals], self.pool[:, removed]], 1)
        bound = np.log(least / (1 - least) / (len(removed) + 1)) - ROUNDING
        most = self._most(directions[:, 0])
        known = self._known(prepared, blocks)
        return prepared.cells.likely(known, most, directions, rivals, removed, bound, least, LEAST_REST)

    def _most(self, direction: np.ndarray) -> tuple[np.ndarray, float]:
        """A query's direction (D,) → weights and a slack: its logit is at most sketch @ weights + slack."""
        weights, slack = self.index.sketcher.bound(direction)
        return weights / self.temperature, slack / self.temperature

    @staticmethod
    def _known(prepared: PreparedMap, blocks: np.ndarray) -> Known:
        """What is known of the cells of some blocks (B,) bool."""
        places = np.where(blocks, prepared.codes_at, np.uintp(0))
        return Known(places, prepared.gain, prepared.competition, prepared.top, prepared.sketch)

    def score(self, regions: Regions, common: float) -> np.ndarray:
        """(R,) scores 0..1 of a map's candidates for one query: how often candidates like it are what was asked for."""
        *weights, offset = self.calibration
        return 1 / (1 + np.exp(-(traits(regions, common) @ weights + offset)))

    def looks_like(self, feature: np.ndarray, phrases: PhraseSet) -> str:
        """The competitor that a feature (D,) is nearest to."""
        return phrases.names[1 + int(self.cosines(feature[None], phrases.directions[:, 1:])[0].argmax())]
