"""One step's losses for the stage in which two views look at each other; all else of the network stays as it is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.config import DistillConfig
from sab3r_ros.model.sab3r import SAB3R
from sab3r_ros.training.health import unit_spread
from sab3r_ros.training.losses import matching_loss
from sab3r_ros.training.objective import Losses, sampled_descriptors
from sab3r_ros.training.pairs import Batch

EARLIER = 0.5  # weight of a round's losses, as a share of the next one's


def pair_losses(
    model: SAB3R, raw: dict[str, Tensor], batch: Batch, config: DistillConfig
) -> tuple[Losses, dict[str, Tensor]]:
    """Weighted losses of a batch, and what shows whether the stage is alive. raw: `model.forward_raw(batch.images)`.

    match: InfoNCE at the batch's matches with the changed descriptors. seen: cross entropy of whether the other view sees.
    """
    rounds = model.cross_view(raw["tokens"], F.normalize(raw["desc"], dim=1))
    known = batch.seen >= 0
    truth = batch.seen[known].float()
    out = {"match": truth.new_zeros(()), "seen": truth.new_zeros(())}
    for n, (descriptors, seen) in enumerate(reversed(rounds)):
        pair = sampled_descriptors(descriptors, batch, config.negatives)
        error = matching_loss(*pair, batch.matched, config.match_temperature)
        weight = EARLIER**n
        out["match"] = out["match"] + weight * error.sum() / batch.matched.sum().clamp_min(1)
        out["seen"] = out["seen"] + weight * F.binary_cross_entropy_with_logits(low(seen)[known], truth)
    descriptors, seen = rounds[-1]
    told = {
        "seen_accuracy": ((low(seen)[known] > 0) == (truth > 0.5)).float().mean(),
        "spread_descriptors": unit_spread(descriptors[:, :, ::8, ::8].permute(0, 2, 3, 1).flatten(0, 2)),
    }
    return out, told


def low(seen: Tensor) -> Tensor:
    """(2B, 1, H/2, W/2) → (2B, H/4, W/4): at the pixels `LOW`."""
    return seen[:, 0, 1::2, 1::2]
