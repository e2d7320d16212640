"""The benchmarks' metrics against independent implementations and hand-made cases."""

import numpy as np
import pytest

from sab3r_ros.evaluation.metrics import confusion, segmentation_score


def test_confusion_by_hand():
    truth, guess = np.array([[0, 0, 1], [1, -1, 2]]), np.array([[0, 1, 1], [7, 0, 2]])
    assert confusion(truth, guess, 3).tolist() == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    score = segmentation_score(confusion(truth, guess, 3))
    assert score.iou.tolist() == [1 / 2, 1 / 3, 1]
    assert score.miou == pytest.approx(11 / 18)
    assert score.accuracy == pytest.approx(3 / 5)
    assert score.class_accuracy == pytest.approx(2 / 3)


def test_perfect_is_one_and_absent_classes_do_not_count():
    truth = np.array([0, 3, 3])
    score = segmentation_score(confusion(truth, truth, 5))
    assert (score.miou, score.accuracy, score.class_accuracy) == (1, 1, 1)
    assert np.isnan(score.iou[[1, 2, 4]]).all()
    assert np.isnan(segmentation_score(confusion(np.array([-1]), np.array([0]), 2)).miou)
