"""`sab3r bench pose`: RRA@15, RTA@15 and mAA@30 of ten images of a scene, on Co3Dv2 or recordings with poses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sab3r_ros.commands.bench import add_network_options, positive

EXAMPLES = """examples:
  sab3r bench pose co3d data/co3d                 CATEGORY/frame_annotations.jgz and so on
  sab3r bench pose 7scenes data/redkitchen
  sab3r bench pose tum data/rgbd_dataset_freiburg2_desk --frames 5"""
PUBLISHED = {"MASt3R": (94.2, 88.6, 81.1), "SAB3R (C)": (92.6, 87.3, 79.7), "SAB3R (CD)": (92.9, 87.8, 80.3)}


def add_parser(benches: argparse._SubParsersAction) -> None:
    parser = benches.add_parser(
        "pose",
        help="relative camera poses of ten images: Co3Dv2",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("layout", choices=["co3d", "7scenes", "tum", "kitti"], help="the data set's layout")
    parser.add_argument("folder", type=Path, help="where the data set lies")
    parser.add_argument(
        "--frames", type=positive, default=10, help="images of a scene; default 10, as published"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choice of images and of the alignment; default 0"
    )
    add_network_options(parser, "build/bench-pose")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Raises ConfigError and CheckpointError."""
    from dataclasses import asdict

    import numpy as np
    from tqdm import tqdm

    from sab3r_ros.config import AlignmentConfig
    from sab3r_ros.errors import ConfigError
    from sab3r_ros.evaluation.depth_data import chosen
    from sab3r_ros.evaluation.pose import judge_poses
    from sab3r_ros.evaluation.pose_data import LAYOUTS
    from sab3r_ros.evaluation.pose_metrics import pose_score
    from sab3r_ros.evaluation.record import Record
    from sab3r_ros.model.feature_model import load_model

    if args.frames < 2:
        raise ConfigError("--frames must be at least 2: one image has no pair")
    scenes = list(LAYOUTS[args.layout](args.folder, args.frames, args.seed))
    if not scenes:
        raise ConfigError(f"{args.folder} has no scene of {args.frames} images")
    model, config = load_model(args.model, args.device), AlignmentConfig()
    results = {}
    picked = [scenes[k] for k in chosen(len(scenes), args.limit)]
    for scene in tqdm(picked, desc=f"pose, {args.layout}", unit="scene", disable=None):
        results[scene.name] = (scene.group, judge_poses(model, scene, config, args.seed))

    def row(kind: str) -> dict[str, float | int]:
        """Pairs within a group together, then the mean over groups."""
        groups = sorted({group for group, _ in results.values()})
        scores = [
            pose_score(np.concatenate([getattr(r, kind) for g, r in results.values() if g == group]))
            for group in groups
        ]
        mean = {key: float(np.mean([getattr(s, key) for s in scores])) for key in vars(scores[0])}
        return {
            "RRA@15 %": 100 * mean["rra"],
            "RTA@15 %": 100 * mean["rta_either_sign"],
            "mAA@30 %": 100 * mean["maa"],
            "RTA@15 %, sign counts": 100 * mean["rta"],
            "pairs with a pose %": 100 * mean["found"],
            "their median rotation error °": float(np.nanmean([s.rotation_deg for s in scores])),
            "scenes": len(results),
        }

    rows = {model.identity: row("errors"), "nothing has moved": row("still")}
    times = [(r.seconds, r.cpu_seconds) for _, r in results.values()]
    rows[model.identity] |= dict(
        zip(("s a frame", "CPU s a frame"), map(float, np.median(times, 0)), strict=True)
    )
    if args.layout == "co3d":
        for name, (rra, rta, maa) in PUBLISHED.items():
            rows[f"{name}, quoted from the paper"] = {"RRA@15 %": rra, "RTA@15 %": rta, "mAA@30 %": maa}
    record = Record(
        f"Pose: {args.layout}, {args.folder.name}, {args.frames} images a scene",
        "Images alone, no intrinsics; all pairs of a scene, means over categories or sequences. A pair without a pose is "
        "missed. RTA and mAA take a direction and its opposite for the same, as published figures do.",
        {
            "model": model.identity,
            "layout": args.layout,
            "folder": args.folder.name,
            "frames": args.frames,
            "seed": args.seed,
            "limit": args.limit,
            "alignment": asdict(config),
        },
        rows,
        {name: {"errors_deg": r.errors.tolist(), "seconds": r.seconds} for name, (_, r) in results.items()},
    )
    record.write(args.out, args.layout)
    sys.stdout.write(record.text())
