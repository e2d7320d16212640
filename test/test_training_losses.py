"""Each loss against numbers that a person can compute."""

import math

import pytest
import torch
import torch.nn.functional as F

from sab3r_ros.training.losses import (
    caption_distillation,
    confidence_weighted,
    feature_regression,
    gradient_error,
    matching_loss,
    normalised_pointmap_error,
    pointmap_error,
)


def test_confidence_weighted_by_hand():
    error, confidence = torch.tensor([1.0, 3.0, 99.0]), torch.tensor([2.0, 1.0, 5.0])
    valid = torch.tensor([True, True, False])
    expected = ((2 * 1 - 0.2 * math.log(2)) + (1 * 3 - 0)) / 2
    assert confidence_weighted(error, confidence, valid, 0.2).item() == pytest.approx(expected)


def test_confidence_weighted_of_nothing_is_zero_and_differentiable():
    confidence = torch.ones(3, requires_grad=True)
    confidence_weighted(torch.ones(3), confidence, torch.zeros(3, dtype=torch.bool), 0.2).backward()
    assert confidence.grad.abs().sum() == 0


def test_pointmap_error_relative_divides_by_distance():
    truth = torch.tensor([[[[0.0, 3.0, 4.0]]]])
    assert pointmap_error(truth + torch.tensor([1.0, 0, 0]), truth, relative=True).item() == pytest.approx(
        0.2
    )


def test_normalised_error_ignores_the_scale_of_the_prediction_unless_metric():
    torch.manual_seed(0)
    truth = (torch.rand(1, 2, 3, 3) + 1, torch.rand(1, 2, 3, 3) + 1)
    valid = (torch.ones(1, 2, 3, dtype=torch.bool),) * 2
    scaled = tuple(7 * t for t in truth)
    assert max(e.max() for e in normalised_pointmap_error(scaled, truth, valid, metric=False)) < 1e-5
    assert min(e.min() for e in normalised_pointmap_error(scaled, truth, valid, metric=True)) > 1


def test_gradient_error_is_blind_to_scale_and_sees_a_step():
    truth = torch.zeros(1, 4, 4)
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    assert gradient_error(truth + 5, truth, valid) == 0
    step = truth.clone()
    step[:, :, 2:] = 1.0  # one unit between columns 1 and 2
    # stride 1: 4 of 12 horizontal differences are 1; stride 2: all 8 are 1; stride 4: there are none
    assert gradient_error(step, truth, valid).item() == pytest.approx((4 / 12 + 1.0) / 3)


def test_matching_loss_by_hand():
    eye = torch.eye(2)[None]
    valid = torch.ones(1, 2, dtype=torch.bool)
    expected = math.log(1 + math.exp(-1.0))
    assert torch.allclose(matching_loss(eye, eye, valid, 1.0), torch.full((1, 2), expected))


def test_matching_loss_ignores_invalid_rows_without_nan():
    torch.manual_seed(0)
    first = F.normalize(torch.randn(1, 4, 8), dim=-1).requires_grad_()
    second = F.normalize(torch.randn(1, 6, 8), dim=-1)
    valid = torch.tensor([[True, True, True, False]])
    loss = matching_loss(first, second, valid, 0.05)
    second_changed = second.clone()
    second_changed[0, 3] = -second[0, 3]
    assert loss[0, 3] == 0
    assert torch.allclose(loss, matching_loss(first, second_changed, valid, 0.05))
    loss.sum().backward()
    assert torch.isfinite(first.grad).all()


def test_matching_loss_of_no_match_at_all_is_zero_and_finite():
    first = F.normalize(torch.randn(1, 3, 8), dim=-1).requires_grad_()
    loss = matching_loss(first, first.detach(), torch.zeros(1, 3, dtype=torch.bool), 0.05).sum()
    loss.backward()
    assert loss == 0 and torch.isfinite(first.grad).all()


def test_feature_regression_is_the_mean_square():
    assert feature_regression(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]])).item() == pytest.approx(
        2.5
    )


def test_caption_distillation_is_least_at_the_target():
    vocabulary = torch.eye(4)
    right = caption_distillation(3 * vocabulary[:1], vocabulary[:1], vocabulary, 0.1)
    wrong = caption_distillation(vocabulary[1:2], vocabulary[:1], vocabulary, 0.1)
    soft = (vocabulary[0] / 0.1).softmax(-1)
    entropy = -(soft * soft.log()).sum()
    assert right.item() == pytest.approx(entropy.item(), abs=1e-5)
    assert wrong.item() > right.item() + 1
