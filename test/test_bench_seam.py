"""The published benchmarks judge whatever stands behind FeatureModel: embedded, two-view, two models."""

import numpy as np
import pytest
import torch
from small_heads import small_heads  # noqa: F401

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.evaluation.depth import DepthImage, judge_depth
from sab3r_ros.evaluation.pose import PoseScene, judge_poses
from sab3r_ros.evaluation.segmentation import SegmentationData, SegmentationImage, Tally, WordSegmenter
from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.network_model import MonocularModel, TwoViewModel
from sab3r_ros.model.two_models import TwoModelPipeline

CPU = torch.device("cpu")
TINY = {
    "encoder_width": 64,
    "encoder_depth": 1,
    "encoder_heads": 1,
    "decoder_width": 64,
    "decoder_depth": 4,
    "decoder_heads": 1,
}
DIM = 8


def embedded():
    return MonocularModel(SAB3R(SAB3RConfig.mini()), "mini", CPU, long_side=96)


def two_view():
    config = SAB3RConfig(**TINY, features=(("clip", DIM),), desc_conf_mode="1+exp")
    return TwoViewModel(SAB3R(config), "sab3r", CPU, torch.float32, long_side=96)


def two_models():
    geometry = TwoViewModel(SAB3R(SAB3RConfig(**TINY)), "mast3r", CPU, torch.float32, long_side=96)
    return TwoModelPipeline(
        geometry, lambda x: torch.nn.functional.avg_pool2d(x.repeat(1, 3, 1, 1)[:, :DIM], 16), dim=DIM
    )


class Words:
    def __init__(self, dim):
        self.dim = dim

    def encode(self, phrases):
        vectors = np.random.default_rng(0).normal(size=(len(phrases), self.dim)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", [embedded, two_view, two_models])
def test_every_kind_of_network_is_judged(kind):
    torch.manual_seed(0)
    model, rng = kind(), np.random.default_rng(0)
    images = [rng.integers(0, 255, (75, 100, 3), dtype=np.uint8) for _ in range(3)]
    figures = judge_depth(model, DepthImage("a", images[0], rng.uniform(1, 5, (75, 100))))
    assert 0 < figures.abs_rel < np.inf and 0.8 < figures.covered <= 1

    scene = PoseScene("a", "a", np.tile(np.eye(4), (3, 1, 1)), lambda k: images[k])
    result = judge_poses(model, scene, AlignmentConfig(), seed=0)
    assert result.errors.shape == (3, 2) and np.isinf(result.errors[:, 1]).all()  # the truth does not move

    data = SegmentationData("", (("a", "b"), ("c",), ("d",)), 0, 1, None)
    tally = Tally.empty(data)
    labels = rng.integers(-1, 3, (75, 100))
    tally.add(
        WordSegmenter(model, Words(len(model.feature_basis)), data.classes),
        SegmentationImage("a", images[0], labels),
    )
    assert tally.all_classes.sum() == (labels >= 0).sum() and tally.things.sum() == (labels > 0).sum()
    assert tally.things[:, 0].sum() == 0  # background is never guessed where it does not compete
