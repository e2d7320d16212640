"""2D foundation models that teach the network, or stand beside it in the two-model pipeline.

To add a teacher: a module that maps normalised images (B, 3, H, W) to features (B, D, H / 16, W / 16), and a `Source` in
`sab3r_ros.model.catalog` that says where its weights are and under which licence.
"""

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise(image: Tensor) -> Tensor:
    """Network input (B, 3, H, W) in −1..1 → what the teachers were run on: ImageNet's mean and deviation."""
    mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((image + 1) / 2 - mean) / std
