"""What every query of a map shares, computed once a map version: unit features, and how strongly all nouns compete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 1 << 15  # voxels at a time: what a block needs stays in the cache
LEAST_REST = (
    1e-5  # of the pool's competition: what rounding leaves certain when nearly all of it is taken out
)


@dataclass(frozen=True)
class PreparedMap:
    """features: (N, D) float16 as the map has them. unit: (N, D) bfloat16, of unit language vectors.

    scale: (N,) float32 that makes a feature's language vector unit. pool_logsumexp: (N,) float32, over all nouns of
    cosine / temperature.
    """

    features: np.ndarray
    unit: Tensor
    scale: Tensor
    pool_logsumexp: Tensor


def prepare(
    features: np.ndarray, gram: Tensor, pool: Tensor, temperature: float, before: PreparedMap | None
) -> PreparedMap:
    """Prepare a map, taking from `before` the rows that did not change since.

    gram: (D, D) basisᵀ @ basis. pool: (D, P) basisᵀ @ text vectors of the nouns.
    """
    n, d = features.shape
    unit, scale, logsumexp = torch.empty(n, d, dtype=torch.bfloat16), torch.empty(n), torch.empty(n)
    changed = np.arange(n)
    if before is not None and before.features.shape[1] == d:
        kept = min(n, len(before.features))
        unit[:kept], scale[:kept] = before.unit[:kept], before.scale[:kept]
        logsumexp[:kept] = before.pool_logsumexp[:kept]
        same = before.features[:kept].view(np.uint16) == features[:kept].view(np.uint16)
        changed = np.concatenate([np.flatnonzero(~same.all(1)), np.arange(kept, n)])
    for start in range(0, len(changed), BLOCK):
        rows = changed[start : start + BLOCK]
        f = torch.from_numpy(features[rows]).float()
        factor = ((f @ gram) * f).sum(1).clamp_min(1e-12).rsqrt()
        f = f * factor[:, None]
        index = torch.from_numpy(rows)
        scale[index] = factor
        unit[index], logsumexp[index] = f.bfloat16(), torch.logsumexp(f @ pool / temperature, 1)
    return PreparedMap(features, unit, scale, logsumexp)


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
