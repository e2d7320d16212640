"""The small head: from tokens at stride 16 up to stride 2 with the stem's features beside them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.model.stem import TAP_SPREAD, TAPS

WIDTHS = {8: 128, 4: 80, 2: 48}  # channels of each level
TYPICAL_LOG_DEPTH = 0.7  # log metres: where training starts
TYPICAL_FOCAL = 0.9  # focal length over the longer side: where training starts


class Level(nn.Module):
    """One step up: coarser path and stem features to one width, summed at the finer resolution, then residual
    3×3s.

    The path is projected before it is upsampled: the same by linearity, at a quarter of the cost.
    """

    def __init__(self, coarse: int, stride: int, width: int) -> None:
        super().__init__()
        self.path = nn.Conv2d(coarse, width, 1)
        self.skip = nn.Conv2d(TAPS[stride][1], width, 1)
        self.skip_spread = TAP_SPREAD[stride]
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)  # the residual starts as nothing: no normalisation needed
        nn.init.zeros_(self.conv2.bias)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(self.path(coarse), scale_factor=2, mode="bilinear", align_corners=False)
        x = x + F.conv2d(
            skip, self.skip.weight / self.skip_spread, self.skip.bias
        )  # brings the tap to unit variance
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class PyramidHead(nn.Module):
    """Depth, descriptors, language inputs and a focal length from tokens and stem features."""

    def __init__(self, width: int, descriptor_dim: int, bottleneck: int) -> None:
        super().__init__()
        self.level8 = Level(width, 8, WIDTHS[8])
        self.level4 = Level(WIDTHS[8], 4, WIDTHS[4])
        self.level2 = Level(WIDTHS[4], 2, WIDTHS[2])
        self.geometry = nn.Conv2d(WIDTHS[2], 32, 3, padding=1)
        self.geometry_out = nn.Conv2d(32, 2, 1)
        self.local = nn.Conv2d(WIDTHS[2], 64, 3, padding=1)
        self.local_out = nn.Conv2d(64, descriptor_dim + 1, 1)
        self.semantic = nn.Conv2d(WIDTHS[4], 128, 3, padding=1)
        self.semantic_out = nn.Conv2d(128, bottleneck, 1)
        self.focal = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 1))
        nn.init.zeros_(self.focal[2].weight)
        nn.init.zeros_(self.focal[2].bias)
        with torch.no_grad():
            self.geometry_out.bias.copy_(torch.tensor([TYPICAL_LOG_DEPTH, 0.0]))

    def forward(self, tokens: Tensor, grid: tuple[int, int], taps: dict[int, Tensor]) -> dict[str, Tensor]:
        """tokens: (B, N, width). grid: rows, columns. taps: the stem's features by stride. All float32, for
        an image H × W:

        logz (B, 1, H/2, W/2) log metres; conf (B, 1, H/2, W/2) ≥ 1; focal (B,) pixels of the full image;
        desc (B, D, H/2, W/2) unit, but of any length in training mode, where the loss normalises the few that
        it samples; desc_conf (B, 1, H/2, W/2) > 0; language_input (B, bottleneck, H/4, W/4).
        """
        x8 = self.level8(tokens.transpose(1, 2).unflatten(2, grid), taps[8])
        x4 = self.level4(x8, taps[4])
        x2 = F.relu(self.level2(x4, taps[2]))
        geometry, local = F.relu(self.geometry(x2)), F.relu(self.local(x2))
        semantic = self.semantic_out(F.relu(self.semantic(F.relu(x4))))
        with torch.autocast(
            tokens.device.type, enabled=False
        ):  # bfloat16 would round depths by half a percent
            logz, confidence = self.geometry_out(geometry.float()).split([1, 1], 1)
            descriptors, reliability = self.local_out(local.float()).split(
                [self.local_out.out_channels - 1, 1], 1
            )
            longer = 16 * max(grid)
            return {
                "logz": logz,
                "conf": 1 + confidence.exp(),
                "focal": TYPICAL_FOCAL * longer * self.focal(tokens.float().mean(1)).squeeze(1).exp(),
                "desc": descriptors if self.training else F.normalize(descriptors, dim=1),
                "desc_conf": reliability.exp(),
                "language_input": semantic.float(),
            }
