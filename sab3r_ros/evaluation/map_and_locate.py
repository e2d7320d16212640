"""Map and Locate's metrics (paper Sec. 3), and the reading taken of each.

mIoU, Acc: a true point takes the label of its nearest predicted point, as the paper says; counts are added over all groups of
a size, then IoU is averaged over the labels that the truth has (as ScanNet's own benchmark does).

mComp, mdComp: for each label that a group's truth has, the mean and median distance from the predicted points of that label
to the nearest true point of it: the direction is the paper's, word for word ("from each predicted point to its nearest
neighbor in the ground truth"; elsewhere that is called accuracy). Averaged over a group's labels, then over groups. The paper
tabulates them so that higher is better, and does not say how. Reading taken: 1 − d, d in metres and at most 1; a label that
the truth has and the prediction has not scores 0. Beside it stand the metres themselves (over labels that were predicted) and
the share of predicted points within 5 and 10 cm (0 for a label that was not).

coverage: the share of true points of any label within 10 cm of a predicted one: geometry alone, in the direction that
others call completeness; views that found no place cost it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from sab3r_ros.evaluation.groups import unprojected
from sab3r_ros.evaluation.metrics import confusion, segmentation_score
from sab3r_ros.evaluation.prediction import grid_step
from sab3r_ros.evaluation.scenes import LabelledView

NEAR_M = (0.05, 0.10)
WORST_M = 1.0  # distances beyond score no less than 0


@dataclass(frozen=True)
class LabelDistance:
    """Of one label's predicted points to its true ones. mean_m, median_m: metres; near: shares within NEAR_M."""

    mean_m: float
    median_m: float
    near: tuple[float, ...]


@dataclass(frozen=True)
class GroupScore:
    """counts: (C, C + 1), see `metrics.confusion`. distances: of each label that the truth has; None if it was not predicted.
    coverage: share of true points within NEAR_M of a predicted one.
    """

    counts: np.ndarray
    distances: dict[int, LabelDistance | None]
    coverage: tuple[float, ...]


@dataclass(frozen=True)
class Figures:
    """What a table shows of one system and group size. Shares and scores in 0..1, distances in metres; NaN = no group.

    iou, points: (C,) of each class: IoU, NaN where it is in neither truth nor guess, and the number of true points.
    """

    groups: int
    miou: float
    accuracy: float
    mcomp: float
    mdcomp: float
    mcomp_m: float
    mdcomp_m: float
    near: tuple[float, ...]
    coverage: tuple[float, ...]
    iou: np.ndarray
    points: np.ndarray


def true_points(views: Sequence[LabelledView], most: int) -> tuple[np.ndarray, np.ndarray]:
    """World points (N, 3) and labels (N,) of all views' pixels with depth and a label, on a grid of at most `most` a view."""
    X, labels = [], []
    for view in views:
        step = grid_step(*view.depth.shape, most)
        rows, columns = np.mgrid[: view.depth.shape[0] : step, : view.depth.shape[1] : step].reshape(2, -1)
        good = (view.depth[rows, columns] > 0) & (view.labels[rows, columns] >= 0)
        X.append(unprojected(view, rows[good], columns[good]))
        labels.append(view.labels[rows[good], columns[good]])
    return np.concatenate(X), np.concatenate(labels)


def score_group(
    truth: tuple[np.ndarray, np.ndarray], guess: tuple[np.ndarray, np.ndarray], classes: int
) -> GroupScore:
    """truth, guess: points (N, 3) metres in the world and labels (N,) each. At least one point in each."""
    (Xt, lt), (Xp, lp) = truth, guess
    reach, nearest = cKDTree(Xp).query(Xt)
    distances: dict[int, LabelDistance | None] = {}
    for label in np.unique(lt).tolist():
        own = Xp[lp == label]
        distances[label] = label_distance(own, Xt[lt == label]) if len(own) else None
    return GroupScore(
        confusion(lt, lp[nearest], classes), distances, tuple(float((reach < d).mean()) for d in NEAR_M)
    )


def label_distance(guess: np.ndarray, truth: np.ndarray) -> LabelDistance:
    d, _ = cKDTree(truth).query(guess)
    return LabelDistance(float(d.mean()), float(np.median(d)), tuple(float((d < m).mean()) for m in NEAR_M))


def higher_is_better(distance_m: float) -> float:
    """The form in which the paper tabulates completeness, as this benchmark reads it: 1 at 0 m, 0 from 1 m on."""
    return 1 - min(distance_m / WORST_M, 1.0)


def figures(scores: Sequence[GroupScore], classes: int) -> Figures:
    """Over all groups of one size. Groups without a labelled true point count nothing."""
    scores = [s for s in scores if s.distances]
    nan = float("nan")
    if not scores:
        return Figures(
            0, nan, nan, nan, nan, nan, nan, (nan, nan), (nan, nan), np.full(classes, nan), np.zeros(classes)
        )
    counts = np.sum([s.counts for s in scores], 0)
    seg = segmentation_score(counts)
    rows = []
    for score in scores:
        found = [d for d in score.distances.values() if d is not None]
        n = len(score.distances)
        rows.append(
            [
                sum(higher_is_better(d.mean_m) for d in found) / n,
                sum(higher_is_better(d.median_m) for d in found) / n,
                float(np.mean([d.mean_m for d in found])) if found else nan,
                float(np.mean([d.median_m for d in found])) if found else nan,
                *(sum(d.near[k] for d in found) / n for k in range(len(NEAR_M))),
                *score.coverage,
            ]
        )
    table = np.array(rows)
    known = np.isfinite(table)
    mean = np.where(known, table, 0).sum(0) / np.where(known.any(0), known.sum(0), nan)
    mcomp, mdcomp, mcomp_m, mdcomp_m, *shares = mean.tolist()
    return Figures(
        len(scores), seg.miou, seg.accuracy, mcomp, mdcomp, mcomp_m, mdcomp_m,
        tuple(shares[:2]), tuple(shares[2:]), seg.iou, counts.sum(1),
    )  # fmt: skip
