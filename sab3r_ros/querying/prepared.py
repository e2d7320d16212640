"""What every query of a map shares, computed when the map changes, and the one pass over the map that a query needs."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import simsimd
import torch

from sab3r_ros.types import MapSnapshot
from sab3r_ros.voxels import LEVELS, Voxels

BLOCK = 1 << 14  # voxels at a time: what a block needs stays in the cache
MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64
)  # odd: of a position's hash


@dataclass(frozen=True)
class PreparedMap:
    """A map of N voxels, ready to be asked.

    gain: (N,) float16 that makes codes · direction the cosine of the language vectors, divided by the temperature.
    competition: (N,) float32, the logarithm of the sum of exp over all nouns of the pool. top: (N,) uint8, the likeliest
    noun. reach: largest gain · |codes|₁, how much a direction's rounding may count.
    """

    snapshot: MapSnapshot
    gain: np.ndarray
    competition: np.ndarray
    top: np.ndarray
    reach: float

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.gain, self.competition, self.top


def prepare(
    snapshot: MapSnapshot, gram: np.ndarray, pool: np.ndarray, temperature: float, before: PreparedMap | None
) -> PreparedMap:
    """Prepare a map; of `before` the voxels that did not change since are taken over.

    gram: (D, D) basisᵀ @ basis. pool: (D, P) basisᵀ @ text vectors of the nouns, P ≤ 256.
    """
    nothing = Voxels.nothing(snapshot.feature_dim)
    if before is None:
        none = MapSnapshot((), *(getattr(snapshot, f.name) for f in fields(snapshot)[1:]))
        before = PreparedMap(
            none, np.zeros(0, np.float16), np.zeros(0, np.float32), np.zeros(0, np.uint8), 0.0
        )
    starts = before.snapshot.starts
    known = {id(b): slice(starts[k], starts[k + 1]) for k, b in enumerate(before.snapshot.blocks)}
    now = {id(b) for b in snapshot.blocks}
    new = Voxels.joined([nothing, *(b for b in snapshot.blocks if id(b) not in known)])
    old = Voxels.joined([nothing, *(b for b in before.snapshot.blocks if id(b) not in now)])
    gone = [
        np.arange(known[id(b)].start, known[id(b)].stop) for b in before.snapshot.blocks if id(b) not in now
    ]
    mine, theirs = unchanged(new, old)
    columns = [np.empty(len(new), held.dtype) for held in before.columns()]
    for column, held in zip(columns, before.columns(), strict=True):
        column[mine] = held[np.concatenate([np.zeros(0, int), *gone])[theirs]]
    todo = np.ones(len(new), bool)
    todo[mine] = False
    rows, reach = np.flatnonzero(todo), before.reach
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        gain, competition, top, far = competed(new.codes[part], gram, pool, temperature)
        for column, values in zip(columns, (gain, competition, top), strict=True):
            column[part] = values
        reach = max(reach, far)
    return PreparedMap(snapshot, *assembled(snapshot, known, before, columns), reach)


def assembled(
    snapshot: MapSnapshot, known: dict[int, slice], before: PreparedMap, columns: list[np.ndarray]
) -> list[np.ndarray]:
    """Columns of the whole map: of known blocks from `before`, of the others in turn from `columns`."""
    place = 0
    parts: list[list[np.ndarray]] = [[column[:0]] for column in columns]
    for block in snapshot.blocks:
        if id(block) in known:
            source, rows = before.columns(), known[id(block)]
        else:
            source, rows = columns, slice(place, place + len(block))
            place += len(block)
        for part, column in zip(parts, source, strict=True):
            part.append(column[rows])
    return [np.concatenate(part) for part in parts]


def unchanged(new: Voxels, old: Voxels) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `new` and the rows of `old` that have the same position and feature."""
    keys, theirs = fingerprints(new), fingerprints(old)
    order = np.argsort(theirs, kind="stable")
    if not len(order):
        return np.zeros(0, int), np.zeros(0, int)
    there = order.take(np.searchsorted(theirs[order], keys), mode="clip")
    mine = np.flatnonzero(theirs[there] == keys)
    there = there[mine]
    same = (new.codes[mine] == old.codes[there]).all(1) & (new.points[mine] == old.points[there]).all(1)
    return mine[same], there[same]


def fingerprints(voxels: Voxels) -> np.ndarray:
    """(N,) uint64 hash of the positions."""
    mixed = voxels.points.view(np.uint32).astype(np.uint64) * MIX
    return mixed[:, 0] ^ mixed[:, 1] ^ mixed[:, 2]


def competed(
    codes: np.ndarray, gram: np.ndarray, pool: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Gain, competition, top and reach of codes (M, D)."""
    f = codes.astype(np.float32)
    length = np.sqrt(np.maximum(np.einsum("nd,nd->n", f @ gram, f), 1e-12))
    gain = np.where(length > 1e-3, 1 / (temperature * length), 0).astype(np.float16)
    logits = torch.from_numpy((f @ pool) * gain.astype(np.float32)[:, None])
    top = logits.argmax(1)
    competition = torch.logsumexp(logits, 1).numpy()
    far = float((gain.astype(np.float32) * np.abs(f).sum(1)).max(initial=0))
    return gain, competition, top.numpy().astype(np.uint8), far


def log_parts(prepared: PreparedMap, direction: np.ndarray) -> tuple[np.ndarray, float]:
    """(N,) float32: logarithm of exp(cosine / temperature) relative to the pool's sum, and the largest error in it.

    direction: (D,). It is rounded to a byte a dimension: one product of integers over the map as it is stored.
    """
    step = max(float(np.abs(direction).max(initial=0)), 1e-12) / LEVELS
    rounded = np.rint(direction / step).astype(np.int8)[None]
    out = np.empty(len(prepared.snapshot), np.float32)
    for block, start in zip(prepared.snapshot.blocks, prepared.snapshot.starts[:-1].tolist(), strict=True):
        dots = simsimd.cdist(block.codes, rounded, metric="dot", out_dtype="float32")
        out[start : start + len(block)] = np.asarray(dots)[:, 0]
    out *= prepared.gain
    out *= np.float32(step)
    out -= prepared.competition
    return out, 0.5 * step * prepared.reach
