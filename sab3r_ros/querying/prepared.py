"""What every query of a map shares, computed once a map version: unit features, and how strongly all nouns compete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.types import MapSnapshot

BLOCK = 1 << 15  # voxels at a time: what a block needs stays in the cache
LEAST_REST = (
    1e-5  # of the pool's competition: what rounding leaves certain when nearly all of it is taken out
)


@dataclass(frozen=True)
class PreparedMap:
    """snapshot: the map. unit: (N, D) bfloat16, of unit language vectors.

    scale: (N,) float32 that makes a feature's language vector unit. pool_logsumexp: (N,) float32, over all nouns of
    cosine / temperature.
    """

    snapshot: MapSnapshot
    unit: Tensor
    scale: Tensor
    pool_logsumexp: Tensor


def prepare(
    snapshot: MapSnapshot, gram: Tensor, pool: Tensor, temperature: float, before: PreparedMap | None
) -> PreparedMap:
    """Prepare a map, taking from `before` the blocks that did not change since.

    gram: (D, D) basisᵀ @ basis. pool: (D, P) basisᵀ @ text vectors of the nouns.
    """
    n, d = len(snapshot), snapshot.feature_dim
    unit, scale, logsumexp = torch.empty(n, d, dtype=torch.bfloat16), torch.empty(n), torch.empty(n)
    known = {}
    if before is not None:
        starts = before.snapshot.starts[:-1].tolist()
        known = {id(b): start for b, start in zip(before.snapshot.blocks, starts, strict=True)}
    for block, start in zip(snapshot.blocks, snapshot.starts[:-1].tolist(), strict=True):
        rows = slice(start, start + len(block))
        if id(block) in known:
            old = slice(known[id(block)], known[id(block)] + len(block))
            unit[rows], scale[rows] = before.unit[old], before.scale[old]
            logsumexp[rows] = before.pool_logsumexp[old]
            continue
        f = torch.from_numpy(block.features())
        factor = ((f @ gram) * f).sum(1).clamp_min(1e-12).rsqrt()
        f = f * factor[:, None]
        scale[rows] = factor
        unit[rows], logsumexp[rows] = f.bfloat16(), torch.logsumexp(f @ pool / temperature, 1)
    return PreparedMap(snapshot, unit, scale, logsumexp)


def rough_probability(
    prepared: PreparedMap, query: Tensor, added: Tensor, removed: Tensor, temperature: float
) -> np.ndarray:
    """(N,) float32: the query's share against the pool with phrases added and removed, to bfloat16's precision.

    query: (D, 1), added: (D, A), removed: (D, R) directions. One matrix product over the voxels.
    """
    directions = torch.cat([query, added, removed], 1).bfloat16()
    logits = (prepared.unit @ directions).float().div_(temperature).sub_(prepared.pool_logsumexp[:, None])
    share = logits.exp_()
    end = 1 + added.shape[1]
    rest = (1 - share[:, end:].sum(1)).clamp_min_(LEAST_REST) + share[:, 1:end].sum(1)
    return (share[:, 0] / (share[:, 0] + rest)).numpy()
