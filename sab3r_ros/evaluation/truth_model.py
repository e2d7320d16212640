"""A model that sees the truth of a shard's frames: the upper bound of every figure, through the same code."""

from __future__ import annotations

import numpy as np

from sab3r_ros.geometry.camera import pixel_grid
from sab3r_ros.training.shards import Shard, View
from sab3r_ros.types import View as ModelView

DESCRIPTOR_SCALE = 9.0  # standard deviation of the descriptors' frequencies, radians a metre
LANGUAGE_CELL = 4  # pixels a side that share a label, as the networks' language features do


class TruthModel:
    """True depth on true rays, descriptors that are a function of the world point, captions' vectors of the true labels.

    Implements `FeatureModel`; `encode` takes a shard's `View` in place of an image.
    """

    identity, language, monocular = "truth", "minilm-l6-v2", True

    def __init__(self, shard: Shard, captions: np.ndarray) -> None:
        """captions: (V, L) unit vectors, row = label of the shard's vocabulary."""
        rng = np.random.default_rng(0)
        self.size = shard.size
        self.frequencies = rng.normal(0, DESCRIPTOR_SCALE, (3, 24))
        self.phases = rng.uniform(0, 2 * np.pi, 24)
        self.feature_basis = np.concatenate([captions, np.zeros((1, captions.shape[1]), np.float32)]).T

    def prepare(self, image, K=None):
        """As they are."""
        return image, K

    def encode(self, view: View) -> ModelView:
        """The view's truth. Features are one-hot labels; pixels without depth have confidence 1, others 3."""
        h, w = self.size
        rays = (pixel_grid(h, w) - view.K[:2, 2]) / [view.K[0, 0], view.K[1, 1]]
        points = np.concatenate([rays, np.ones((h, w, 1))], -1) * view.depth[..., None]
        world = (points @ view.T_WC[:3, :3].T + view.T_WC[:3, 3])[::2, ::2]
        waves = np.cos(world @ self.frequencies + self.phases)
        descriptors = waves / np.linalg.norm(waves, axis=-1, keepdims=True)
        middle = LANGUAGE_CELL // 2
        labels = view.labels[middle::LANGUAGE_CELL, middle::LANGUAGE_CELL]
        return ModelView(
            points.astype(np.float32),
            np.where(view.depth > 0, 3.0, 1.0).astype(np.float32),
            descriptors.astype(np.float32),
            np.where(view.depth[::2, ::2] > 0, 1.0, 1e-6).astype(np.float32),
            np.eye(self.feature_basis.shape[1], dtype=np.float16)[labels],
        )

    def decode(self, first: ModelView, second: ModelView) -> tuple[ModelView, ModelView]:
        """Each in its own frame."""
        return first, second
