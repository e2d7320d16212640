"""What a run is worth: each figure beside the baseline that a dead network would reach.

python -m sab3r_ros.training.validation mini build/rooms/test-0    a checkpoint's figures on shards
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.evaluation.depth_metrics import depth_errors
from sab3r_ros.evaluation.metrics import confusion, segmentation_score
from sab3r_ros.training.pairs import correspondences, halve_depth, make_batch
from sab3r_ros.training.shards import Shard, View, Vocabulary

NOT_A_CLASS = {"otherprop", "otherstructure", "otherfurniture", "unknown", ""}


def match_figures(
    first: Tensor, second: Tensor, views: tuple[View, View], rng: np.random.Generator
) -> tuple[float, float]:
    """Reciprocal nearest neighbours of two (D, h, w) maps: share within 3 px of truth, share of covisible pixels matched.

    Truth is the exact reprojection of view 1's depth at the full resolution.
    """
    (_, h, w), (H, W) = first.shape, views[0].depth.shape
    truth, seen = correspondences(*views, 600, rng)
    if seen.sum() < 20:
        return float("nan"), float("nan")
    cell = (truth[seen, 0] * [w / W, h / H]).astype(int)
    seeds = first[:, cell[:, 1], cell[:, 0]].T
    there = (seeds @ second.flatten(1)).argmax(1)
    back = (second.flatten(1)[:, there].T @ first.flatten(1)).argmax(1).numpy()
    steps = np.maximum(np.abs(back // w - cell[:, 1]), np.abs(back % w - cell[:, 0]))
    good = steps <= 1
    found = np.stack([(there.numpy() % w + 0.5) * W / w - 0.5, (there.numpy() // w + 0.5) * H / h - 0.5], 1)
    start = np.stack([(cell[:, 0] + 0.5) * W / w - 0.5, (cell[:, 1] + 0.5) * H / h - 0.5], 1)
    error = np.linalg.norm((found - start) - (truth[seen, 1] - truth[seen, 0]), axis=1)
    return float(np.mean(error[good] < 3)) if good.any() else 0.0, float(good.mean())


@torch.no_grad()
def validate(
    model: torch.nn.Module, shard: Shard, class_vectors: dict[str, Tensor], pairs: int = 60, seed: int = 0
) -> dict[str, float]:
    """Figures over `pairs` fixed pairs of a shard.

    class_vectors: NYU40 name → unit text vector; empty for data without labels.
    Returns abs_rel, delta, abs_rel_constant, focal_error, match_3px, match_share, and with labels miou, accuracy, majority.
    """
    rng = np.random.default_rng(seed)
    usable = np.flatnonzero((shard.overlaps > 0.25) & (shard.overlaps < 0.9))
    chosen = shard.pairs[rng.choice(usable, min(pairs, len(usable)), replace=False)]
    names = [n for n in class_vectors if n not in NOT_A_CLASS]
    texts = torch.stack([class_vectors[n] for n in names]) if names else torch.zeros(0, 1)
    class_of = np.array([names.index(e[2]) if e[2] in names else -1 for e in shard.vocabulary.entries] + [-1])
    figures: dict[str, list[float]] = defaultdict(list)
    counts = np.zeros((len(names), len(names) + 1), np.int64)
    for i, j in chosen:
        views = shard.view(int(i)), shard.view(int(j))
        batch = make_batch([views], 16, rng, augment=False)
        raw = model.forward_raw(batch.images)
        for k, view in enumerate(views):
            truth = halve_depth(view.depth)
            abs_rel, delta = depth_errors(raw["logz"][k].squeeze().float().exp().numpy(), truth)
            figures["abs_rel"].append(abs_rel)
            figures["delta"].append(delta)
            figures["abs_rel_constant"].append(depth_errors(np.ones_like(truth), truth)[0])
            figures["focal_error"].append(abs(float(raw["focal"][k] / batch.focal[k]) - 1))
        desc, _ = model.pair_descriptors(raw["tokens"], raw["desc"], raw["desc_conf"])
        close, share = match_figures(desc[0].float(), desc[1].float(), views, rng)
        figures["match_3px"].append(close)
        figures["match_share"].append(share)
        if names:
            language = F.normalize(
                model.language_linear(raw["language_input"].permute(0, 2, 3, 1)).float(), dim=-1
            )
            guess = (language @ texts.T).argmax(-1).numpy().ravel()
            counts += confusion(class_of[batch.labels.numpy().ravel()], guess, len(names))
    out = {k: float(np.nanmean(v)) for k, v in figures.items()}
    if names:
        score = segmentation_score(counts)
        out["miou"], out["accuracy"], out["class_accuracy"] = score.miou, score.accuracy, score.class_accuracy
        out["majority"] = float(counts.sum(1).max() / counts.sum())
    return out


ROWS = {  # figure → what it is called, its unit's factor and name
    "abs_rel": ("depth AbsRel, median-scaled", 100, "%"),
    "abs_rel_constant": ("  the same for a constant depth", 100, "%"),
    "delta": ("depth within a factor of 1.25", 100, "%"),
    "focal_error": ("focal length error", 100, "%"),
    "match_3px": ("reciprocal matches within 3 px of truth", 100, "%"),
    "match_share": ("share of covisible pixels matched", 100, "%"),
    "miou": ("text segmentation mIoU over NYU40 classes", 100, "%"),
    "class_accuracy": ("  mean class accuracy", 100, "%"),
    "accuracy": ("  pixel accuracy", 100, "%"),
    "majority": ("  pixel accuracy of the commonest class", 100, "%"),
}


def validation_table(figures: dict[str, float]) -> str:
    """ "shard/figure" → value as a Markdown table: a row a figure, a column a shard; figures that ROWS does not know stay out."""
    shards = list(dict.fromkeys(key.rpartition("/")[0] for key in figures))
    lines = [f"| | {' | '.join(shards)} |", f"|{' --- |' * (len(shards) + 1)}"]
    for key, (name, factor, unit) in ROWS.items():
        cells = [figures.get(f"{shard}/{key}") for shard in shards]
        if any(cell is not None for cell in cells):
            shown = ["–" if cell is None else f"{factor * cell:.1f} {unit}" for cell in cells]
            lines.append(f"| {name.strip()} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    from sab3r_ros.model.feature_model import checkpoint_path
    from sab3r_ros.model.weights import load_checkpoint
    from sab3r_ros.querying.text import load_text_encoder
    from sab3r_ros.training.captions import CaptionVectors

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="'mini' or the path of an embedded-size checkpoint")
    parser.add_argument("shards", nargs="+", type=Path)
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    args = parser.parse_args()
    model, text = (
        load_checkpoint(checkpoint_path(args.checkpoint)).float().eval(),
        load_text_encoder("minilm-l6-v2"),
    )
    figures = {}
    for folder in args.shards:
        shard = Shard(folder, Vocabulary(), tuple(args.size))
        measured = validate(model, shard, CaptionVectors(shard.vocabulary, text).classes(), args.pairs)
        figures |= {f"{folder.name}/{key}": value for key, value in measured.items()}
    print(f"{args.pairs} pairs\n\n{validation_table(figures)}")


if __name__ == "__main__":
    main()
