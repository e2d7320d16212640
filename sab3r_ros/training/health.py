"""Is a run alive? What the heads' outputs and gradients say, step by step.

Joint training can drive one head's outputs to a constant while the others improve ("modality collapse", paper Sec. 5.1).
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.errors import Sab3rError
from sab3r_ros.training.pairs import Batch

SMOOTHING = 0.9  # of the spread over steps: one odd batch does not stop a run
LEAST_TRUE_SPREAD = 0.1  # of log depth: a batch of flat walls is no measure
# Beginning of a parameter's name → whose gradient it counts to; all others are the trunk's.
HEADS = {
    "head.geometry": "geometry",
    "head.local": "descriptors",
    "head.semantic": "language",
    "language_linear": "language",
    "cross_view": "pairs",
}


class CollapseError(Sab3rError, RuntimeError):
    """A loss is not finite, or a head says the same everywhere; the run stops so that no compute is wasted."""


@torch.no_grad()
def spread(model: nn.Module, raw: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """How much each head's outputs vary over a batch: 0 if all pixels say the same.

    spread_descriptors, spread_language: root mean square distance of unit vectors from their mean, at most 1.
    spread_depth: standard deviation of the log depth, as a share of the truth's.
    """
    language = model.language_linear(raw["language_input"][:, :, ::4, ::4].permute(0, 2, 3, 1).flatten(0, 2))
    truth = batch.depth[batch.depth > 0].log()
    return {
        "spread_depth": raw["logz"].float().std() / truth.std().clamp_min(LEAST_TRUE_SPREAD),
        "spread_descriptors": unit_spread(raw["desc"][:, :, ::8, ::8].permute(0, 2, 3, 1).flatten(0, 2)),
        "spread_language": unit_spread(language),
    }


def unit_spread(vectors: Tensor) -> Tensor:
    """(N, D) → root mean square distance of the unit vectors from their mean."""
    unit = F.normalize(vectors.float(), dim=-1)
    return (unit - unit.mean(0)).square().sum(-1).mean().sqrt()


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """Norm of the gradient of each head's own layers and of what they share: gradient_geometry, …, gradient_trunk."""
    squares: dict[str, float] = defaultdict(float)
    for name, p in model.named_parameters():
        if p.grad is not None:
            part = next((part for start, part in HEADS.items() if name.startswith(start)), "trunk")
            squares[f"gradient_{part}"] += float(p.grad.square().sum())
    return {part: math.sqrt(square) for part, square in squares.items()}


class Watch:
    """Stops a run that has died. least: of any smoothed spread, from step `warmup` on; 0 = only losses are watched."""

    def __init__(self, least: float, warmup: int) -> None:
        self.least, self.warmup = least, warmup
        self.smoothed: dict[str, float] = {}

    def check(self, step: int, values: dict[str, float]) -> None:
        """values: of this step, `spread`'s among them. Raises CollapseError that names what has collapsed."""
        if not all(math.isfinite(v) for v in values.values()):
            raise CollapseError(
                f"step {step}: a loss is not finite: {values}. Resume with a smaller learning rate."
            )
        for key, value in values.items():
            if not key.startswith("spread_"):
                continue
            before = self.smoothed.get(key, value)
            self.smoothed[key] = SMOOTHING * before + (1 - SMOOTHING) * value
            if step >= self.warmup and self.smoothed[key] < self.least:
                raise CollapseError(
                    f"step {step}: the {key.removeprefix('spread_')} head has collapsed: its outputs vary by "
                    f"{self.smoothed[key]:.2g} over a batch, {self.least:g} is the least. Go back to an earlier checkpoint, "
                    "and lower the learning rate or the other heads' loss weights."
                )
