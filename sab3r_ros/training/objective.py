"""One step's losses for the embedded network: own-frame pointmaps, descriptors and captions, from one batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.config import DistillConfig
from sab3r_ros.training.losses import (
    caption_distillation,
    confidence_weighted,
    gradient_error,
    matching_loss,
    pointmap_error,
)
from sab3r_ros.training.pairs import Batch

Losses = dict[str, Tensor]


def unproject_depth(logz: Tensor, focal: Tensor) -> Tensor:
    """(B, h, w) log depth, (B,) focal length in pixels of this resolution → (B, h, w, 3) points, RDF, centred."""
    _, h, w = logz.shape
    v, u = torch.meshgrid(
        torch.arange(h, device=logz.device) - (h - 1) / 2,
        torch.arange(w, device=logz.device) - (w - 1) / 2,
        indexing="ij",
    )
    z = logz.exp()
    f = focal[:, None, None]
    return torch.stack([u / f * z, v / f * z, z], -1)


def sample_at(maps: Tensor, pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear samples of (B, C, h, w) at (B, N, 2) pixels (u, v) of an image of `size` (H, W) → (B, N, C)."""
    h, w = size
    grid = (pixels + 0.5) / pixels.new_tensor([w, h]) * 2 - 1
    return F.grid_sample(maps.float(), grid[:, None], align_corners=False).squeeze(2).transpose(1, 2)


def balanced_pixels(labels: Tensor, count: int) -> Tensor:
    """Indices into flattened labels, drawn so that a caption counts by the square root of its area; label −1 never."""
    flat = labels.flatten()
    area = torch.bincount(flat.clamp_min(0)[flat >= 0], minlength=1).float()
    weight = torch.where(flat >= 0, area.clamp_min(1)[flat.clamp_min(0)].rsqrt(), torch.zeros(()))
    if weight.sum() == 0:
        return flat.new_zeros(0)
    return torch.multinomial(weight, count, replacement=True)


def losses(
    model: torch.nn.Module, raw: dict[str, Tensor], batch: Batch, captions: Tensor, config: DistillConfig
) -> Losses:
    """All weighted losses of a batch, the same keys whatever it holds. Sum them for the step's loss.

    raw: `model.forward_raw(batch.images)`. captions: (V, L) unit caption vectors, row = label.
    """
    size = (batch.images.shape[-2], batch.images.shape[-1])
    logz, conf = raw["logz"].squeeze(1).float(), raw["conf"].squeeze(1).float()
    valid = batch.depth > 0
    truth_logz = batch.depth.clamp_min(1e-3).log()
    truth = unproject_depth(truth_logz, batch.focal / 2)
    points = unproject_depth(logz, raw["focal"].float() / 2)
    out = {
        "points": config.point_weight
        * confidence_weighted(
            pointmap_error(points, truth, relative=True), conf, valid, config.confidence_alpha
        ),
        "gradient": config.gradient_weight * gradient_error(logz, truth_logz, valid),
        "focal": config.focal_weight * (raw["focal"].float() / batch.focal).log().abs().mean(),
    }
    out["match"] = config.match_weight * descriptor_loss(raw["desc"], raw["desc_conf"], batch, size, config)
    pixels = balanced_pixels(batch.labels, config.language_pixels)
    out["language"] = raw["language_input"].sum() * 0.0
    if len(pixels):
        language = model.language_linear(raw["language_input"].permute(0, 2, 3, 1).flatten(0, 2)[pixels])
        label = batch.labels.flatten()[pixels]
        chosen = torch.cat(
            [label.unique(), torch.randint(len(captions), (config.vocabulary_sample,))]
        ).unique()
        out["language"] = (
            config.language_weight
            * caption_distillation(
                language, captions[label], captions[chosen], config.language_temperature
            ).mean()
        )
    return out


def sampled_descriptors(desc: Tensor, batch: Batch, negatives: int) -> tuple[Tensor, Tensor]:
    """Unit vectors of maps (2B, D, h, w) at the batch's matches: (B, N, D), and (B, N + negatives, D) of view 2.

    The negatives are at random pixels.
    """
    size = batch.images.shape[-2:]
    first, second = desc.chunk(2)
    extra = torch.rand(len(first), negatives, 2) * batch.matches.new_tensor([size[1] - 1, size[0] - 1])
    at = batch.matches[:, :, 0], torch.cat([batch.matches[:, :, 1], extra], 1)
    return tuple(
        F.normalize(sample_at(maps, pixels, size), dim=-1)
        for maps, pixels in zip((first, second), at, strict=True)
    )


def descriptor_loss(
    desc: Tensor, desc_conf: Tensor, batch: Batch, size: tuple[int, int], config: DistillConfig
) -> Tensor:
    """InfoNCE at the batch's matches, with random pixels of view 2 as further negatives, weighted by confidence.

    At inference a pixel chooses among all of view 2: a few hundred negatives would make the task too easy to learn from.
    """
    conf_first, conf_second = desc_conf.chunk(2)
    loss = matching_loss(
        *sampled_descriptors(desc, batch, config.negatives), batch.matched, config.match_temperature
    )
    conf = (
        (
            sample_at(conf_first, batch.matches[:, :, 0], size)
            * sample_at(conf_second, batch.matches[:, :, 1], size)
        )
        .squeeze(-1)
        .clamp_min(1e-6)
        .sqrt()
    )
    return confidence_weighted(loss, conf, batch.matched, alpha=1.0)
