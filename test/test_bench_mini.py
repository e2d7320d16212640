"""The embedded checkpoint's bench: what its figures mean, on a wall and a world whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training_data import H, W, pose, wall_view, write_wall

from sab3r_ros.errors import CheckpointError
from sab3r_ros.evaluation.aliked import Aliked, DeformableConv, load_aliked
from sab3r_ros.evaluation.clips import ON_THE_THING, Found, Thing, ate_share, outline, outline_mask
from sab3r_ros.evaluation.mini import AT_LEAST, AT_MOST, Row, line
from sab3r_ros.evaluation.pairs import Judge, blocks, match_errors
from sab3r_ros.evaluation.pose_metrics import pose_errors, pose_score
from sab3r_ros.evaluation.synonyms import SYNONYMS
from sab3r_ros.evaluation.truth_model import TruthModel
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.rooms import procedural
from sab3r_ros.training.shards import Shard, Vocabulary
from sab3r_ros.types import View


@pytest.fixture
def shard(tmp_path):
    return Shard(write_wall(tmp_path / "s", [0, 0.1, 0.2], [1, 1, 1]), Vocabulary(), (H, W))


def test_the_truth_is_the_upper_bound(shard):
    captions = np.eye(1, 8, dtype=np.float32)
    truth = TruthModel(shard, captions)
    judge = Judge(shard, truth, truth.encode)
    assert judge.depth([0, 1]) == {"abs_rel": pytest.approx(0, abs=1e-6), "delta": 1.0}
    assert judge.words([0, 1], {"wall": captions[0]})["miou"] == 1.0
    matched = judge.matches(np.array([[0, 1], [1, 2]]))
    assert matched["match_3px"] > 0.95 and matched["match_share"] > 0.9
    assert matched["surest_3px"] > 0.95


class Ranked(TruthModel):
    """Right matches, but that a tenth of the second view's descriptors are another pixel's, of which it is unsure."""

    def decode(self, first, second):
        one, two = super().decode(first, second)
        wrong = np.random.default_rng(0).random(two.descriptors.shape[:2]) < 0.1
        descriptors = np.where(wrong[..., None], two.descriptors[::-1, ::-1], two.descriptors)
        sure = np.where(wrong, 0.01, 1.0).astype(np.float32)
        return one, replace(two, descriptors=descriptors, descriptor_confidence=sure)


def test_the_surest_quarter_is_what_the_mapper_believes_most(shard):
    model = Ranked(shard, np.eye(1, 8, dtype=np.float32))
    matched = Judge(shard, model, model.encode).matches(np.array([[0, 1], [1, 2]]))
    assert matched["surest_3px"] > 0.99 > matched["match_3px"]


def test_blocks_are_where_the_mapper_looks():
    view = View(np.zeros((96, 128, 3)), np.ones((96, 128)), np.zeros((48, 64, 24)), np.ones((48, 64)), None)
    # 48 × 64 descriptors, two pixels each: blocks of √(3072 / 400) → 2 of them, four pixels
    assert blocks(view)[[0, 1, 32]].tolist() == [[1.5, 1.5], [5.5, 1.5], [1.5, 5.5]]
    assert len(blocks(view)) == 24 * 32


def test_match_errors_by_hand():
    views = wall_view(0), wall_view(0.5)  # a point moves by −40 · 0.5 / 2 = −10 pixels
    start = np.array([[20.0, 5], [20, 5], [2, 5]])
    end = np.array([[10.0, 5], [13, 9], [0, 5]])
    assert match_errors(start, end, views) == pytest.approx([0, 5, np.inf])


def test_pose_errors_by_hand():
    truth = np.eye(4)
    truth[:3, 3] = [1, 0, 0]
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert pose_errors(Sim3(2.0, quarter, np.array([0, 3.0, 0])), truth) == pytest.approx((90, 90))
    assert pose_errors(Sim3(1.0, np.eye(3), np.array([5.0, 0, 0])), truth) == pytest.approx((0, 0))
    assert pose_errors(None, truth) == (np.inf, np.inf)
    assert pose_errors(Sim3.identity(), truth) == (0.0, np.inf)


def test_a_pair_without_a_pose_is_missed():
    score = pose_score([[1.0, 20], [3, 4], [np.inf, np.inf], [40, 2]])
    assert (score.rra, score.rta, score.found, score.rotation_deg) == (0.5, 0.5, 0.75, 3.0)


def test_path_error_is_a_share_of_the_path_and_free_of_scale():
    truth = np.stack([pose(x) for x in (0.0, 1, 2, 3)])
    scaled = truth.copy()
    scaled[:, :3, 3] *= 0.5
    assert ate_share(scaled, truth, 3.0) == pytest.approx(0, abs=1e-9)
    assert np.isnan(ate_share(truth[:2], truth[:2], 1.0))


def test_an_object_is_on_the_thing_by_the_share_inside_its_outline():
    thing = Thing("a box", (outline((0, 0), (9, 0), (9, 19), (0, 19)),))
    assert outline_mask(thing, (20, 20)).mean() == 0.5
    assert Found(thing, ON_THE_THING, 0.1, np.zeros((0, 2))).on_the_thing
    assert not Found(thing, ON_THE_THING - 0.01, 0.9, np.zeros((0, 2))).on_the_thing


def test_a_goal_is_met_on_its_own_side():
    assert Row("x", "%", 7.0, 1, (AT_MOST, 8.0)).met and not Row("x", "%", 9.0, 1, (AT_MOST, 8.0)).met
    assert Row("x", "%", 9.0, 1, (AT_LEAST, 8.0)).met
    assert not Row("x", "%", float("nan"), 1, (AT_MOST, 8.0)).met
    assert (
        line(Row("x", "%", 7.0, 5, (AT_MOST, 8.0), 0.0, 40.0))
        == "| x | ≤ 8 % | 7.0 % ✓ | 0.0 | 40.0 | 5 |  |"
    )


def test_no_synonym_names_a_thing_that_rooms_hold():
    rng = np.random.default_rng(0)
    names = {make(rng).name for make in procedural.SMALL_THINGS for _ in range(5)}
    assert not names & set(SYNONYMS.values())
    assert not set(SYNONYMS) & set(SYNONYMS.values())


def test_a_deformable_convolution_without_offsets_is_a_convolution():
    torch.manual_seed(0)
    conv, x = DeformableConv(3, 5), torch.randn(1, 3, 9, 12)
    torch.nn.init.zeros_(conv.offset_conv.weight)
    torch.nn.init.zeros_(conv.offset_conv.bias)
    assert torch.allclose(conv(x), conv.regular_conv(x), atol=1e-5)


def test_a_deformable_convolution_reads_where_its_offsets_point():
    conv, x = DeformableConv(1, 1), torch.arange(12.0 * 9).view(1, 1, 9, 12)
    torch.nn.init.zeros_(conv.offset_conv.weight)
    conv.offset_conv.bias.data.copy_(torch.tensor([1.0, 2.0] * 9))  # one row down, two columns right
    torch.nn.init.zeros_(conv.regular_conv.weight)
    conv.regular_conv.weight.data[0, 0, 1, 1] = 1
    assert float(conv(x)[0, 0, 3, 4].detach()) == pytest.approx(float(x[0, 0, 4, 6]), abs=1e-4)


def test_aliked_gives_unit_descriptors_at_pixels_inside_the_picture():
    torch.manual_seed(0)
    model = Aliked((8, 16, 32, 64), 64, 16).eval()
    torch.nn.init.normal_(model.desc_head.agg_weights)
    image = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    pixels, descriptors = model.keypoints(image)
    assert pixels.shape == (len(descriptors), 2) and (pixels >= 2).all() and (pixels < [94, 62]).all()
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(len(descriptors)), atol=1e-5)


def test_what_is_no_aliked_file_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="not there"):
        load_aliked(tmp_path / "aliked-n16.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not an ALIKED"):
        load_aliked(tmp_path / "x.pth")
    model = Aliked((8, 16, 32, 64), 64, 16)
    torch.save(model.state_dict(), tmp_path / "t16.pth")
    assert sum(p.numel() for p in load_aliked(tmp_path / "t16.pth").parameters()) == sum(
        p.numel() for p in model.parameters()
    )
