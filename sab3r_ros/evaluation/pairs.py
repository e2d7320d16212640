"""Figures of a model on a shard: depth, matches, poses and words, over frames and pairs that a seed fixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sab3r_ros.config import AlignmentConfig
from sab3r_ros.evaluation.aliked import Aliked
from sab3r_ros.evaluation.depth_metrics import depth_errors
from sab3r_ros.evaluation.metrics import confusion, segmentation_score
from sab3r_ros.evaluation.pose_metrics import pose_errors, pose_score
from sab3r_ros.geometry.sim3 import Sim3
from sab3r_ros.mapping.keyframes import Keyframe
from sab3r_ros.mapping.matching import block_edge, match_views
from sab3r_ros.mapping.window import Window
from sab3r_ros.model.feature_model import FeatureModel
from sab3r_ros.training.pairs import correspondences
from sab3r_ros.training.shards import Shard, View, reproject, transform, unproject
from sab3r_ros.training.validation import NOT_A_CLASS, match_figures
from sab3r_ros.types import View as ModelView

MATCH_OVERLAP, POSE_OVERLAP = (0.25, 0.9), (0.15, 0.6)
CLOSE_PX = 3.0
SUREST = 0.25  # of the covisible pixels, whose matches are judged apart
REMEMBERED_VIEWS = 32
COVISIBLE_SAMPLES = 600  # pixels of a pair whose true match is known

Encode = Callable[[View], Any]


def of_image(model: FeatureModel) -> Encode:
    """How a network sees a shard's view: through its image alone."""
    return lambda view: model.encode(view.image.copy())


@dataclass
class Judge:
    """Judges one model on one shard. encode: from the shard's view to the model's encoding (`of_image`, or the truth's)."""

    shard: Shard
    model: FeatureModel
    encode: Encode

    def __post_init__(self) -> None:
        self.encoding = lru_cache(REMEMBERED_VIEWS)(lambda k: self.encode(self.shard.view(k)))

    def view(self, k: int) -> ModelView:
        return self.model.decode(self.encoding(k), self.encoding(k))[0]

    def depth(self, frames: Sequence[int]) -> dict[str, float]:
        """Median-scaled AbsRel and share within a factor of 1.25, means over frames."""
        errors = [
            depth_errors(self.view(k).points[..., 2], self.shard.view(k).depth)
            for k in tqdm(frames, desc="depth", unit="view", leave=False, disable=None)
        ]
        abs_rel, delta = np.mean(errors, 0)
        return {"abs_rel": float(abs_rel), "delta": float(delta)}

    def matches(self, pairs: np.ndarray, seed: int = 0) -> dict[str, float]:
        """Reciprocal matches of covisible pixels: share within 3 px of truth, share of them matched. The former for the matches
        that the mapper would use, and for those of covisible pixels that it holds most probable, over all pairs, until a
        quarter of these is matched.
        """
        rng, most = np.random.default_rng(seed), AlignmentConfig().max_matches
        figures, used, ranked, covisible = [], [], [], 0
        for i, j in tqdm(pairs, desc="matches", unit="pair", leave=False, disable=None):
            views = self.shard.view(i), self.shard.view(j)
            first, second = self.model.decode(self.encoding(i), self.encoding(j))
            maps = (torch.from_numpy(v.descriptors).permute(2, 0, 1) for v in (first, second))
            figures.append(match_figures(*maps, views, rng))
            found = match_views(first, second, (views[0].image, views[1].image))
            error = match_errors(found.first, found.second, views)
            best = np.argsort(-found.probability)[:most]
            used.append(np.mean(error[best] < CLOSE_PX) if len(error) else np.nan)
            ranked.append(np.stack([found.probability, error], 1)[np.isfinite(error)])
            looked_for = blocks(first)
            covisible += int(np.isfinite(match_errors(looked_for, looked_for, views)).sum())
        close, share = np.nanmean(figures, 0)
        probability, error = np.concatenate(ranked).T
        surest = np.argsort(-probability)[: round(SUREST * covisible)]
        return {
            "match_3px": float(close),
            "match_share": float(share),
            "used_3px": float(np.nanmean(used)),
            "surest_3px": float(np.mean(error[surest] < CLOSE_PX)) if len(surest) else float("nan"),
        }

    def poses(self, pairs: np.ndarray, known_camera: bool, seed: int = 0) -> dict[str, float]:
        """Relative poses as the mapper takes them: the figures of `PoseScore`."""
        rng = np.random.default_rng(seed)
        errors = []
        for i, j in tqdm(pairs, desc="poses", unit="pair", leave=False, disable=None):
            a, b = self.shard.view(i), self.shard.view(j)
            window = Window(self.model, AlignmentConfig())
            for n, (k, view) in enumerate(((i, a), (j, b))):
                K = view.K if known_camera else None
                window.add(Keyframe(n, float(n), view.image, K, self.encoding(k)))
            poses = window.solve(rng)
            truth = np.linalg.inv(a.T_WC) @ b.T_WC
            errors.append(pose_errors(poses.get(1), truth))
        return vars(pose_score(errors))

    def words(self, frames: Sequence[int], queries: dict[str, np.ndarray]) -> dict[str, float]:
        """Segmentation by text. queries: NYU40 class → unit vector; classes that the frames lack do not compete."""
        entries = self.shard.vocabulary.entries
        labels = {k: self.shard.view(k).labels[2::4, 2::4] for k in frames}
        seen = np.unique(np.concatenate([np.unique(v) for v in labels.values()]))
        names = sorted({entries[n][2] for n in seen if n >= 0} - NOT_A_CLASS)
        class_of = np.array([names.index(e[2]) if e[2] in names else -1 for e in entries] + [-1])
        texts = np.stack([queries[n] for n in names]) @ self.model.feature_basis
        counts = np.zeros((len(names), len(names) + 1), np.int64)
        for k in tqdm(frames, desc="words", unit="view", leave=False, disable=None):
            guess = (self.view(k).features.astype(np.float32) @ texts.T).argmax(-1)
            counts += confusion(class_of[labels[k]], guess, len(names))
        score = segmentation_score(counts)
        truth = counts.sum(1)
        return {
            "miou": score.miou,
            "majority_miou": float(truth.max() / truth.sum() / len(names)),
            "classes": float(len(names)),
        }


def blocks(view: ModelView) -> np.ndarray:
    """(B, 2) middles (u, v) of the blocks of descriptors of which the mapper matches one each."""
    (h, w, _), (H, W) = view.descriptors.shape, view.size
    edge = block_edge(h, w)
    rows, columns = (edge * (np.arange(n // edge) + 0.5) for n in (h, w))
    u, v = np.meshgrid(columns * W / w - 0.5, rows * H / h - 0.5)
    return np.stack([u.ravel(), v.ravel()], 1)


def match_errors(first: np.ndarray, second: np.ndarray, views: tuple[View, View]) -> np.ndarray:
    """Pixels between where matches (M, 2), (M, 2) end and where they should; infinite where nothing is to be matched."""
    a, b = views
    h, w = a.depth.shape
    cell = np.clip(np.round(first), 0, [w - 1, h - 1]).astype(int)
    z = a.depth[cell[:, 1], cell[:, 0]].astype(float)
    X_W = transform(a.T_WC, unproject(first, z, a.K))
    truth, seen = reproject(X_W, {"T_WC": b.T_WC, "K": b.K}, b.depth)
    return np.where(seen & (z > 0), np.linalg.norm(truth - second, axis=1), np.inf)


def identity_poses(shard: Shard, pairs: np.ndarray) -> dict[str, float]:
    """What "nothing has moved" scores."""
    truths = [np.linalg.inv(shard.view(i).T_WC) @ shard.view(j).T_WC for i, j in pairs]
    return vars(pose_score([pose_errors(Sim3.identity(), truth) for truth in truths]))


def constant_depth(shard: Shard, frames: Sequence[int]) -> dict[str, float]:
    """What one depth for the whole picture scores."""
    depths = [shard.view(k).depth for k in frames]
    abs_rel, delta = np.mean([depth_errors(np.ones_like(d), d) for d in depths], 0)
    return {"abs_rel": float(abs_rel), "delta": float(delta)}


def choose_pairs(shard: Shard, overlap: tuple[float, float], count: int, seed: int = 0) -> np.ndarray:
    """At most `count` ordered pairs (N, 2) whose overlap lies in the range; neighbours in the shard together."""
    usable = np.flatnonzero((shard.overlaps >= overlap[0]) & (shard.overlaps < overlap[1]))
    chosen = np.random.default_rng(seed).choice(usable, min(count, len(usable)), replace=False)
    return shard.pairs[np.sort(chosen)]


def aliked_matches(aliked: Aliked, shard: Shard, pairs: np.ndarray, seed: int = 0) -> dict[str, float]:
    """A published matcher on the same pairs: mutual nearest neighbours of its keypoints.

    match_3px: of the matches whose true place is seen, how many are within 3 px. match_share: keypoints among the covisible
    pixels, as a share of these, that have a match: a pixel counts if a matched keypoint lies within 1 px.
    """
    keypoints = lru_cache(REMEMBERED_VIEWS)(lambda k: aliked.keypoints(shard.view(k).image))
    rng, close, share = np.random.default_rng(seed), [], []
    for i, j in tqdm(pairs, desc="ALIKED", unit="pair", leave=False, disable=None):
        views = shard.view(i), shard.view(j)
        (p, d), (q, e) = keypoints(i), keypoints(j)
        if min(len(p), len(q)) == 0:
            close.append(0.0), share.append(0.0)
            continue
        similarity = d @ e.T
        there, back = similarity.argmax(1).numpy(), similarity.argmax(0).numpy()
        mutual = back[there] == np.arange(len(there))
        error = match_errors(p[mutual].astype(float), q[there[mutual]].astype(float), views)
        known = np.isfinite(error)
        close.append(float((error[known] < CLOSE_PX).mean()) if known.any() else np.nan)
        truth, seen = correspondences(*views, COVISIBLE_SAMPLES, rng)
        apart = np.abs(truth[seen, 0][:, None] - p[mutual][None]).max(-1)
        share.append(float((apart.min(1) <= 1).mean()) if mutual.any() and seen.any() else 0.0)
    return {"match_3px": float(np.nanmean(close)), "match_share": float(np.mean(share))}
