"""FeatUp's upsampler (Fu et al. 2024): stacked joint bilateral filters with learned guidance, in plain torch."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.errors import CheckpointError

RADIUS = 3
DIAMETER = 2 * RADIUS + 1
KEY_DIM = 32
FIX_UP = 0.1  # share of the learned corrections
DROPOUT = 0.1  # in training only


class JointBilateral(nn.Module):
    """Doubles the resolution: each output pixel is a mean of 7 × 7 neighbours, near in place and alike in guidance."""

    def __init__(self) -> None:
        super().__init__()
        taps = DIAMETER**2
        self.range_temp = nn.Parameter(torch.zeros(()))
        self.sigma_spatial = nn.Parameter(torch.ones(()))
        self.range_proj = nn.Sequential(
            nn.Conv2d(3, KEY_DIM, 1), nn.GELU(), nn.Dropout2d(DROPOUT), nn.Conv2d(KEY_DIM, KEY_DIM, 1)
        )
        self.fixup_proj = nn.Sequential(
            nn.Conv2d(3 + taps, taps, 1), nn.GELU(), nn.Dropout2d(DROPOUT), nn.Conv2d(taps, taps, 1)
        )

    def kernel(self, guidance: Tensor) -> Tensor:
        """guidance: (B, 3, H, W). Returns (B, 49, H, W) weights, taps row-major."""
        keys = self.range_proj(guidance)
        logits = torch.stack([(keys * near).sum(1) for near in shifted(keys)], 1)
        alike = (self.range_temp.exp().clamp(1e-4, 1e4) * logits).softmax(1)
        step = torch.linspace(-1, 1, DIAMETER, device=guidance.device)
        distance = (step[:, None].square() + step[None, :].square()).flatten()
        weight = alike * (-distance / (2 * self.sigma_spatial.square())).exp()[:, None, None]
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-7)
        return weight + FIX_UP * self.fixup_proj(torch.cat([weight, guidance], 1))

    def forward(self, features: Tensor, guidance: Tensor) -> Tensor:
        """features: (B, D, h, w). guidance: (B, 3, H, W). Returns (B, D, H, W)."""
        smooth = F.interpolate(features, size=guidance.shape[-2:], mode="bicubic", align_corners=False)
        kernel = self.kernel(guidance)
        out = torch.zeros_like(smooth)
        for k, near in enumerate(
            shifted(smooth)
        ):  # one tap at a time: 49 copies of the features would not fit
            out = torch.addcmul(out, near, kernel[:, k : k + 1])
        return out


def shifted(x: Tensor) -> list[Tensor]:
    """The 49 views of x (B, C, H, W) moved by −3..3 rows and columns, row-major, mirrored at the border."""
    h, w = x.shape[-2:]
    padded = F.pad(x, [RADIUS] * 4, mode="reflect")
    return [padded[:, :, i : i + h, j : j + w] for i in range(DIAMETER) for j in range(DIAMETER)]


class JbuStack(nn.Module):
    """Four doublings, each guided by the image at its resolution, and a small correction at the end."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up1, self.up2, self.up3, self.up4 = (JointBilateral() for _ in range(4))
        self.fixup_proj = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(dim, dim, 1))

    def forward(self, features: Tensor, image: Tensor, doublings: int = 4) -> Tensor:
        """features: (B, D, h, w). image: (B, 3, H, W) normalised. Returns (B, D, h · 2^doublings, w · 2^doublings)."""
        for up in (self.up1, self.up2, self.up3, self.up4)[:doublings]:
            h, w = features.shape[-2:]
            features = up(features, F.adaptive_avg_pool2d(image, (2 * h, 2 * w)))
        return features + FIX_UP * self.fixup_proj(features)


def load_jbu(path: Path, dim: int) -> JbuStack:
    """The upsampler of a FeatUp checkpoint, in evaluation mode (its dropout must not run).

    Raises CheckpointError if the file is unsafe or holds no such upsampler.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(path, "cpu", weights_only=True)["state_dict"]
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is refused or unreadable; nothing of it was run ({error})") from error
    prefix = "upsampler."
    stack = JbuStack(dim)
    try:
        stack.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds no upsampler of {dim} channels: {error}") from error
    return stack.float().requires_grad_(False).eval()
