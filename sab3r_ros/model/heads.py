"""The public heads: DPT for dense maps (points, semantic features), an MLP for local descriptors.

Attribute names are those of the public checkpoints' keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.model.transformer import Mlp, cast_for

PATCH = 16
LAYER_DIMS = (96, 192, 384, 768)
FEATURE_DIM = 256
LAST_DIM = 128
DESCRIPTOR_MLP_RATIO = 4


def upsample(x: Tensor) -> Tensor:
    """Bilinear ×2, corners aligned, as the public heads do."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionBlock(nn.Module):
    """Adds a finer layer to the path from the coarser one and doubles its resolution.

    The 1×1 convolution comes before the upsampling here, after it in the paper: both are linear and
    interpolation weights sum to one, so the result is the same at a quarter of the cost.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(dim, dim, 1)
        self.resConfUnit1 = ResidualConvUnit(dim)  # not used by the coarsest block, but checkpoints have it
        self.resConfUnit2 = ResidualConvUnit(dim)

    def forward(self, path: Tensor, finer: Tensor | None = None) -> Tensor:
        if finer is not None:
            path = path + self.resConfUnit1(finer)
        return upsample(self.out_conv(self.resConfUnit2(path)))


class Scratch(nn.Module):
    """Brings the four layers to one width and fuses them from coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        convs = [nn.Conv2d(dim, FEATURE_DIM, 3, padding=1, bias=False) for dim in LAYER_DIMS]
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = convs
        self.layer_rn = nn.ModuleList(convs)  # the same modules again: the aliases of the public keys
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (
            FusionBlock(FEATURE_DIM) for _ in LAYER_DIMS
        )

    def forward(self, layers: list[Tensor]) -> Tensor:
        """layers: at strides 4, 8, 16, 32. Returns (B, 256, H/2, W/2)."""
        l1, l2, l3, l4 = (conv(x) for conv, x in zip(self.layer_rn, layers, strict=True))
        path = self.refinenet4(l4)[:, :, : l3.shape[2], : l3.shape[3]]  # an odd number of rows was rounded up
        path = self.refinenet3(path, l3)
        path = self.refinenet2(path, l2)
        return self.refinenet1(path, l1)


class DPTHead(nn.Module):
    """Dense prediction transformer head (Ranftl et al. 2021) without batch norm."""

    def __init__(self, hook_dims: tuple[int, int, int, int], out: int) -> None:
        super().__init__()
        d1, d2, d3, d4 = LAYER_DIMS
        h1, h2, h3, h4 = hook_dims
        self.scratch = Scratch()
        self.head = nn.Sequential(
            nn.Conv2d(FEATURE_DIM, LAST_DIM, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(LAST_DIM, LAST_DIM, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(LAST_DIM, out, 1),
        )
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(h1, d1, 1), nn.ConvTranspose2d(d1, d1, 4, 4)),
                nn.Sequential(nn.Conv2d(h2, d2, 1), nn.ConvTranspose2d(d2, d2, 2, 2)),
                nn.Sequential(nn.Conv2d(h3, d3, 1)),
                nn.Sequential(nn.Conv2d(h4, d4, 1), nn.Conv2d(d4, d4, 3, stride=2, padding=1)),
            ]
        )

    def penultimate(self, hooks: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """hooks: four (B, N, C) token tensors. grid: rows, columns of tokens.

        Returns (B, 128, H, W), the last layer's input.
        """
        # Reading tokens (B, rows, columns, C) as channels-last maps costs no copy, and convolutions prefer
        # them so.
        maps = [cast_for(self.head[0], h).unflatten(1, grid).permute(0, 3, 1, 2) for h in hooks]
        layers = [post(m) for post, m in zip(self.act_postprocess, maps, strict=True)]
        return self.head[:4](self.scratch(layers))

    def forward(self, hooks: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """(B, out, H, W)."""
        return self.head[4](cast_for(self.head[4], self.penultimate(hooks, grid)))


class LocalFeatures(Mlp):
    """Descriptors and their confidence: an MLP on each patch's tokens, its output shuffled to pixels."""

    def __init__(self, encoder_width: int, decoder_width: int, descriptor_dim: int) -> None:
        width = encoder_width + decoder_width
        super().__init__(width, DESCRIPTOR_MLP_RATIO * width, (descriptor_dim + 1) * PATCH**2)

    def maps(self, tokens: Tensor, grid: tuple[int, int], stride: int = 1) -> Tensor:
        """tokens: (B, N, encoder + decoder width). Returns (B, descriptor_dim + 1, H / stride, W / stride).

        stride: a divisor of the patch; of each cell of stride × stride pixels the first is computed, the others are not.
        """
        if stride == 1:
            out = self(tokens)
        else:  # rows of the last layer are channels × pixels of a patch
            rows = torch.arange(self.fc2.out_features, device=tokens.device).view(-1, PATCH, PATCH)
            rows = rows[:, ::stride, ::stride].flatten()
            hidden = F.gelu(self.fc1(cast_for(self.fc1, tokens)))
            out = F.linear(hidden, self.fc2.weight[rows], self.fc2.bias[rows])
        return F.pixel_shuffle(out.transpose(1, 2).unflatten(2, grid), PATCH // stride)
