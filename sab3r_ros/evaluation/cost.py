"""What a network costs: parameters, and FLOPs a frame of a pair of views.

Parameters are of the networks that see images. (The paper's 838 M for its baseline is MASt3R's 688.6 M and all of CLIP
ViT-B/16, its text tower too; its 729 M for SAB3R is without a text tower. A query is embedded once, so none is counted here.)
FLOPs are two a multiply-add, as torch counts; the paper's 218 G and 248 G are not explained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sab3r_ros.evaluation.bounds import Bound
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.model.two_models import TwoModelPipeline


@dataclass(frozen=True)
class Cost:
    """parameters: of all networks that run. flops: a frame."""

    parameters: int
    flops: float


def cost_of_model(model: FeatureModel, image: np.ndarray) -> Cost | None:
    """For images of this size, (H, W, 3) uint8. None for a bound, which is no network."""
    if isinstance(model, Bound):
        return None
    parts = (
        [model.geometry.network, model.semantics] if isinstance(model, TwoModelPipeline) else [model.network]
    )
    parameters, outside_torch = 0, 0
    for part in parts:
        if isinstance(part, nn.Module):
            parameters += sum(p.numel() for p in part.parameters())
        else:
            parameters, outside_torch = parameters + part.parameters, outside_torch + part.flops
    prepared, _ = model.prepare(image)
    with FlopCounterMode(display=False) as counter:
        encodings = [model.encode(prepared), model.encode(prepared[:, ::-1].copy())]
        for a, b in (encodings, encodings[::-1]):
            first, second = model.decode(a, b)
            for view, maps in ((first, ("points", "descriptors", "features")), (second, ("descriptors",))):
                for name in maps:
                    getattr(view, name)  # a lazy view computes what is read
    return Cost(parameters, counter.get_total_flops() / 2 + outside_torch)
