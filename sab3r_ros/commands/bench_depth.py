"""`sab3r bench depth`: AbsRel and δ1.25 of single images' depth, on NYUv2, KITTI, or recordings of one's own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sab3r_ros.commands.bench import add_network_options

EXAMPLES = """examples:
  sab3r bench depth nyuv2 data/nyu_v2            nyu_depth_v2_labeled.mat and splits.mat
  sab3r bench depth kitti data/depth_selection --model sab3r
  sab3r bench depth 7scenes data/redkitchen --limit 100
  sab3r bench depth folders data/room --depth-unit 0.0002     color/NAME.png and depth/NAME.png"""
PUBLISHED = {  # the paper's table: AbsRel and δ1.25 in per cent
    "nyuv2": {"MASt3R": (8.17, 92.59), "SAB3R (C)": (7.80, 92.67), "SAB3R (CD)": (7.67, 92.82)},
    "kitti": {"MASt3R": (8.28, 93.27), "SAB3R (C)": (11.63, 86.74), "SAB3R (CD)": (12.53, 83.51)},
}


def add_parser(benches: argparse._SubParsersAction) -> None:
    parser = benches.add_parser(
        "depth",
        help="depth of single images: NYUv2, KITTI",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "layout",
        choices=["nyuv2", "kitti", "kitti-eigen", "7scenes", "folders"],
        help="the data set's layout",
    )
    parser.add_argument("folder", type=Path, help="where the data set lies")
    parser.add_argument(
        "--depth-unit", type=float, default=0.001, metavar="M", help="of `folders`, metres; default 0.001"
    )
    add_network_options(parser, "build/bench-depth")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Raises ConfigError, CheckpointError, and ImportError where the data set's format needs a package."""
    import numpy as np
    from tqdm import tqdm

    from sab3r_ros.errors import ConfigError
    from sab3r_ros.evaluation.depth import judge_depth
    from sab3r_ros.evaluation.depth_data import LAYOUTS, chosen, folders
    from sab3r_ros.evaluation.record import Record
    from sab3r_ros.model.feature_model import load_model

    if args.depth_unit <= 0:
        raise ConfigError("--depth-unit must be more than 0 metres")
    data = (
        folders(args.folder, args.depth_unit)
        if args.layout == "folders"
        else LAYOUTS[args.layout](args.folder)
    )
    model = load_model(args.model, args.device)
    items: dict[str, dict[str, float]] = {}
    for k in tqdm(chosen(data.length, args.limit), desc=f"depth, {args.layout}", unit="image", disable=None):
        sample = data.load(k)
        items[sample.name] = vars(judge_depth(model, sample)).copy()
    mean = {
        key: float(np.nanmean([item[key] for item in items.values()])) for key in next(iter(items.values()))
    }
    rows = {
        model.identity: {
            "AbsRel %": 100 * mean["abs_rel"],
            "δ1.25 %": 100 * mean["delta"],
            "AbsRel %, metres as guessed": 100 * mean["abs_rel_metres"],
            "δ1.25 %, metres as guessed": 100 * mean["delta_metres"],
            "pixels judged %": 100 * mean["covered"],
            "images": len(items),
            "s an image": float(np.median([item["seconds"] for item in items.values()])),
            "CPU s an image": float(np.median([item["cpu_seconds"] for item in items.values()])),
        },
        "one depth for all pixels": {
            "AbsRel %": 100 * mean["abs_rel_flat"],
            "δ1.25 %": 100 * mean["delta_flat"],
            "images": len(items),
        },
    }
    for name, (abs_rel, delta) in PUBLISHED.get(args.layout.split("-")[0], {}).items():
        rows[f"{name}, quoted from the paper"] = {"AbsRel %": abs_rel, "δ1.25 %": delta}
    record = Record(
        f"Depth: {data.about}",
        "Each image is paired with itself; median-scaled unless said otherwise; means over images.",
        {"model": model.identity, "layout": args.layout, "folder": args.folder.name, "limit": args.limit},
        rows,
        items,
    )
    record.write(args.out, args.layout)
    sys.stdout.write(record.text())
