"""How probable it is that a match is right: fits mapping/probability.json, and shows how far it can be trusted.

    python bench/matches.py --rooms ROOMS/val-0 [--pairs 600] [--show] [--model mini]

A match is right if it ends within two descriptors of the truth. Every other room fits weights for the rest, whose figures are
printed; all rooms together fit those that are written. --show: writes nothing, judges those of the file on other rooms or clips.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from tqdm import tqdm

from sab3r_ros.evaluation.pairs import REMEMBERED_VIEWS, choose_pairs, match_errors
from sab3r_ros.mapping import probability as p
from sab3r_ros.mapping.matching import described_matches
from sab3r_ros.model.feature_model import load_model
from sab3r_ros.training.shards import Shard, Vocabulary

OVERLAP = (0.05, 0.9)
RIGHT = 2.0  # descriptors
BINS = 5
STEPS, RIDGE = 12, 1e-6


def gathered(shard: Shard, model: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all matches of so many pairs: traits (M, T), whether they are right (M,), and numbers of their rooms (M,)."""
    network = load_model(model, "cpu")
    view = lru_cache(REMEMBERED_VIEWS)(shard.view)
    encoding = lru_cache(REMEMBERED_VIEWS)(lambda k: network.encode(view(k).image.copy()))
    rooms = {name: n for n, name in enumerate(dict.fromkeys(f["room"] for f in shard.frames))}
    out = []
    for i, j in tqdm(choose_pairs(shard, OVERLAP, count), desc="matches", unit="pair", disable=None):
        first, second = network.decode(encoding(i), encoding(j))
        a, b = view(i), view(j)
        *uv, traits = described_matches(first, second, (a.image, b.image))
        most = RIGHT * a.image.shape[1] / first.descriptors.shape[1]
        room = np.full(len(traits), rooms[shard.frames[i]["room"]])
        out.append((traits, match_errors(*uv, (a, b)) < most, room))
    traits, right, room = (np.concatenate(column) for column in zip(*out, strict=True))
    return traits, right, room


def fitted(traits: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights (T + 1,) of a logistic regression, by Newton's method."""
    mean, spread = traits.mean(0), np.maximum(traits.std(0), 1e-9)
    X = np.column_stack([(traits - mean) / spread, np.ones(len(traits))])
    w = np.zeros(X.shape[1])
    for _ in range(STEPS):
        guess = 1 / (1 + np.exp(-X @ w))
        curvature = (X * (guess * (1 - guess))[:, None]).T @ X + RIDGE * len(X) * np.eye(len(w))
        w += np.linalg.solve(curvature, X.T @ (right - guess))
    slopes = w[:-1] / spread
    return np.append(slopes, w[-1] - slopes @ mean)


def figures(score: np.ndarray, right: np.ndarray) -> str:
    """How well scores in 0..1 order and foretell."""
    ranks, hits = rankdata(score), int(right.sum())
    auc = (ranks[right].sum() - hits * (hits + 1) / 2) / (hits * (len(right) - hits))
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    told = (
        f"{score[bins == k].mean():.2f}: {right[bins == k].mean():.2f}"
        for k in range(BINS)
        if (bins == k).any()
    )
    return f"AUC {auc:.3f}; probability: share right  {', '.join(told)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    shard = Shard(arguments.rooms, Vocabulary(), (192, 256))
    traits, right, room = gathered(shard, arguments.model, arguments.pairs)
    print(f"{len(right)} matches, {right.mean():.1%} right")
    if arguments.show:
        print(figures(p.probability(traits), right))
        return
    score, (even, odd) = np.empty(len(right)), (room % 2 == 0, room % 2 == 1)
    for known, other in ((even, odd), (odd, even)):
        *slopes, offset = fitted(traits[known], right[known])
        score[other] = 1 / (1 + np.exp(-(traits[other] @ np.array(slopes) + offset)))
    print(figures(score, right))
    values = {name: round(float(v), 3) for name, v in zip(p.WEIGHTS, fitted(traits, right), strict=True)}
    temporary = p.FILE.with_suffix(".part")
    temporary.write_text(json.dumps(values, indent=2) + "\n")
    os.replace(temporary, p.FILE)
    print(f"{p.FILE}: {values}")


if __name__ == "__main__":
    main()
