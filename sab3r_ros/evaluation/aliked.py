"""ALIKED local features (Zhao et al. 2023) in plain torch: what a published matcher reaches on the same pairs.

Loads the authors' state dicts `aliked-t16.pth`, `aliked-n16.pth` and `aliked-n16rot.pth` (BSD-3-Clause).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.errors import CheckpointError

NMS_RADIUS = 2  # pixels
LEAST_SCORE = 0.2
MOST_KEYPOINTS = 1024


class DeformableConv(nn.Module):
    """A 3 × 3 convolution that reads each of its nine inputs at a learned offset."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(channels, 18, 3, padding=1)
        self.regular_conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        limit = max(h, w) / 4
        offset = self.offset_conv(x).clamp(-limit, limit).view(b, 9, 2, h, w)  # rows first
        tap = torch.arange(9, device=x.device)
        v = torch.arange(h, device=x.device)[:, None] + (tap // 3 - 1)[:, None, None] + offset[:, :, 0]
        u = torch.arange(w, device=x.device) + (tap % 3 - 1)[:, None, None] + offset[:, :, 1]
        grid = torch.stack([(2 * u + 1) / w - 1, (2 * v + 1) / h - 1], -1)  # (B, 9, H, W, 2)
        read = F.grid_sample(x, grid.view(b, 9 * h, w, 2), align_corners=False).view(b, c, 9, h, w)
        return torch.einsum("bckhw,ock->bohw", read, self.regular_conv.weight.flatten(2))


class Block(nn.Module):
    """Two convolutions with batch norms; with a shortcut where `shortcut` is set."""

    def __init__(self, channels: int, out: int, deformable: bool, shortcut: bool) -> None:
        super().__init__()

        def conv(c: int) -> nn.Module:
            return DeformableConv(c, out) if deformable else nn.Conv2d(c, out, 3, padding=1, bias=False)

        self.conv1, self.bn1, self.conv2, self.bn2 = (
            conv(channels),
            nn.BatchNorm2d(out),
            conv(out),
            nn.BatchNorm2d(out),
        )
        self.downsample = nn.Conv2d(channels, out, 1) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.selu(self.bn1(self.conv1(x)))))
        return F.selu(y if self.downsample is None else y + self.downsample(x))


class DescriptorHead(nn.Module):
    """A keypoint's descriptor: features read at M positions that its 3 × 3 neighbourhood predicts, summed by weights."""

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.offset_conv = nn.Sequential(
            nn.Conv2d(dim, 2 * positions, 3), nn.SELU(), nn.Conv2d(2 * positions, 2 * positions, 1)
        )
        self.sf_conv = nn.Conv2d(dim, dim, 1, bias=False)
        self.agg_weights = nn.Parameter(torch.zeros(positions, dim, dim))

    def forward(self, features: Tensor, pixels: Tensor) -> Tensor:
        """features (1, C, H, W), pixels (N, 2) integer (u, v), at least one from the border → (N, C) unit."""
        _, c, h, w = features.shape
        around = F.unfold(features, 3, padding=1).view(c, 3, 3, h, w)
        patches = around[..., pixels[:, 1], pixels[:, 0]].permute(3, 0, 1, 2)
        limit = max(h, w) / 4
        offset = self.offset_conv(patches).clamp(-limit, limit).view(len(pixels), -1, 2)
        position = (pixels[:, None] + offset) / pixels.new_tensor([w - 1, h - 1]) * 2 - 1
        read = F.grid_sample(features, position[None], align_corners=True)  # (1, C, N, M)
        read = F.selu(self.sf_conv(read))[0]
        return F.normalize(torch.einsum("cnp,pcd->nd", read, self.agg_weights), dim=-1)


class Aliked(nn.Module):
    """Keypoints and descriptors of an image."""

    def __init__(self, channels: tuple[int, int, int, int], dim: int, positions: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.block1 = Block(3, c1, deformable=False, shortcut=False)
        self.block2 = Block(c1, c2, deformable=False, shortcut=True)
        self.block3 = Block(c2, c3, deformable=True, shortcut=True)
        self.block4 = Block(c3, c4, deformable=True, shortcut=True)
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(c, dim // 4, 1, bias=False) for c in channels
        )
        widths = (dim, 8, 4, 4, 1)
        layers: list[nn.Module] = []
        for k in range(4):
            size = 1 if k == 0 else 3
            layers += [nn.Conv2d(widths[k], widths[k + 1], size, padding=size // 2, bias=False), nn.SELU()]
        self.score_head = nn.Sequential(*layers[:-1])
        self.desc_head = DescriptorHead(dim, positions)

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, H, W) in 0..1, sides multiples of 32 → unit features (1, C, H, W), scores (H, W) in 0..1."""
        x1 = self.block1(image)
        x2 = self.block2(F.avg_pool2d(x1, 2))
        x3 = self.block3(F.avg_pool2d(x2, 4))
        x4 = self.block4(F.avg_pool2d(x3, 4))
        levels = [
            F.selu(c(x))
            for c, x in zip((self.conv1, self.conv2, self.conv3, self.conv4), (x1, x2, x3, x4), strict=True)
        ]
        whole = torch.cat(
            [F.interpolate(x, size=image.shape[2:], mode="bilinear", align_corners=True) for x in levels], 1
        )
        return F.normalize(whole, dim=1), self.score_head(whole)[0, 0].sigmoid()

    @torch.inference_mode()
    def keypoints(self, image: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """(H, W, 3) uint8 RGB, sides multiples of 32 → (N, 2) integer pixels (u, v), (N, C) unit descriptors."""
        x = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
        features, scores = self.maps(x)
        highest = F.max_pool2d(scores[None, None], 2 * NMS_RADIUS + 1, 1, NMS_RADIUS)[0, 0]
        peaks = torch.where((scores == highest) & (scores > LEAST_SCORE), scores, torch.zeros(()))
        for edge in (peaks[:2], peaks[-2:], peaks[:, :2], peaks[:, -2:]):
            edge.zero_()
        count = min(MOST_KEYPOINTS, int((peaks > 0).sum()))
        index = peaks.flatten().topk(count).indices
        pixels = torch.stack([index % scores.shape[1], index // scores.shape[1]], 1)
        return pixels.numpy(), self.desc_head(features, pixels)


def load_aliked(path: Path) -> Aliked:
    """From a state dict; its shapes say which variant it is. Raises CheckpointError if it is none of them."""
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: give one of ALIKED's files, for example aliked-n16.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        channels = tuple(len(state[f"block{k}.bn1.weight"]) for k in range(1, 5))
        positions, dim, _ = state["desc_head.agg_weights"].shape
        model = Aliked(channels, dim, positions)
        model.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not an ALIKED checkpoint of the kind t16 or n16: {error}"
        ) from error
    return model.eval()
