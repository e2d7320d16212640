"""The losses of the paper's Eq. 6: confidence-weighted pointmaps, descriptor matching, feature regression.

Every function returns a scalar tensor, differentiable, and works in float32 whatever the network's precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EXCLUDED = (
    -1e4
)  # a logit that counts for nothing; minus infinity would turn rows without any partner into NaN gradients


def confidence_weighted(error: Tensor, confidence: Tensor, valid: Tensor, alpha: float) -> Tensor:
    """mean(c · error − alpha · log c) over valid pixels (DUSt3R's confidence loss).

    error, confidence, valid: same shape; confidence ≥ 1; valid bool. Zero where nothing is valid.
    """
    error, confidence = error[valid].float(), confidence[valid].float()
    if error.numel() == 0:
        return confidence.sum() * 0.0
    return (confidence * error - alpha * confidence.log()).mean()


def pointmap_error(points: Tensor, truth: Tensor, relative: bool) -> Tensor:
    """Distance of predicted to true points. points, truth: (B, H, W, 3). Returns (B, H, W).

    relative: divided by each true point's own distance from the camera, so that near and far count alike;
    otherwise plain metres (the caller normalises, as `normalised_pointmap_error` does).
    """
    distance = (points.float() - truth).norm(dim=-1)
    return distance / truth.norm(dim=-1).clamp_min(1e-3) if relative else distance


def normalised_pointmap_error(
    points: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor], metric: bool
) -> tuple[Tensor, Tensor]:
    """The public recipe: both views in camera 1's frame, each side divided by its mean distance over valid points of both views.

    points, truth: two (B, H, W, 3). valid: two (B, H, W) bool. metric: the prediction is divided by the truth's scale.
    Returns two (B, H, W) errors, dimensionless.
    """

    def scale(x: tuple[Tensor, Tensor]) -> Tensor:
        total = sum((p.norm(dim=-1) * v).flatten(1).sum(1) for p, v in zip(x, valid, strict=True))
        count = sum(v.flatten(1).sum(1) for v in valid)
        return (total / count.clamp_min(1)).clamp_min(1e-6)[:, None, None, None]

    true_scale = scale(truth)
    own_scale = true_scale if metric else scale(points)
    a, b = (
        pointmap_error(p / own_scale, t / true_scale, relative=False)
        for p, t in zip(points, truth, strict=True)
    )
    return a, b


def gradient_error(logz: Tensor, truth: Tensor, valid: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute difference of log-depth gradients at `scales` strides: sharp edges, flat walls.

    logz, truth: (B, H, W) log metres. valid: (B, H, W) bool.
    """
    error = (logz.float() - truth) * valid
    total = error.sum() * 0.0
    for step in (2**k for k in range(scales)):
        for d, v in (
            (error[:, :, step:] - error[:, :, :-step], valid[:, :, step:] & valid[:, :, :-step]),
            (error[:, step:] - error[:, :-step], valid[:, step:] & valid[:, :-step]),
        ):
            total = total + (d.abs() * v).sum() / v.sum().clamp_min(1)
    return total / scales


def matching_loss(first: Tensor, second: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """InfoNCE over correspondences, both ways (MASt3R). Returns one loss a correspondence, (B, N); 0 where not valid.

    first: (B, N, D) unit descriptors at the matched pixels of view 1. second: (B, M, D), M ≥ N: row n matches first's
    row n, rows beyond N are further negatives. valid: (B, N) bool; invalid rows are neither positives nor negatives.
    """
    n = first.shape[1]
    logits = first.float() @ second.float().transpose(1, 2) / temperature  # (B, N, M)
    logits[..., :n] = logits[..., :n].masked_fill(~valid[:, None, :], EXCLUDED)
    diagonal = torch.eye(n, dtype=torch.bool, device=logits.device)
    positive = (first.float() * second[:, :n].float()).sum(-1) / temperature
    forward = logits.logsumexp(-1)
    backward = logits[..., :n].masked_fill(~(valid[:, :, None] | diagonal), EXCLUDED).logsumexp(1)
    loss = 0.5 * (forward - positive) + 0.5 * (backward - positive)
    return torch.where(valid, loss, torch.zeros_like(loss))


def feature_regression(features: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of student and teacher features (Eq. 5 as the public code has it). Both (..., D)."""
    return F.mse_loss(features.float(), teacher.float())


def caption_distillation(language: Tensor, target: Tensor, vocabulary: Tensor, temperature: float) -> Tensor:
    """Teach pixels their caption's place among all captions. Returns (N,).

    language: (N, L) predicted, any length. target: (N, L) unit caption vectors. vocabulary: (V, L) unit vectors.
    Cosine distance keeps the direction; the cross entropy between the softmaxes of target and prediction over the
    vocabulary keeps near captions near and others apart, which a regression alone averages away.
    """
    language = F.normalize(language.float(), dim=-1)
    cosine = (language * target).sum(-1)
    soft = (target @ vocabulary.T / temperature).softmax(-1)
    cross = -(soft * (language @ vocabulary.T / temperature).log_softmax(-1)).sum(-1)
    return cross + (1 - cosine)
