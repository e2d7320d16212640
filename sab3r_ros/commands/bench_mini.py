"""`sab3r bench mini`: the embedded checkpoint's figures, each beside its goal, an upper bound and a bare baseline."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from sab3r_ros.errors import ConfigError

EXAMPLES = """examples:
  sab3r bench mini                                      renders 40 test rooms first, then the desk clip; about five minutes
  sab3r bench mini --rooms build/rooms/test-0 --kitchen 7scenes-redkitchen --aliked aliked-n16.pth
  sab3r bench mini --checkpoint build/mini/average.safetensors --out build/bench-mini"""
DESK = Path(__file__).parents[2] / "test" / "data" / "tum_fr2desk20"
SIZE = (192, 256)  # of the views, (H, W): the embedded network's
ROOMS, VIEWS_A_ROOM, KITCHEN_FROM = 40, 8, 500


def add_parser(benches: argparse._SubParsersAction) -> None:
    parser = benches.add_parser(
        "mini",
        help="the embedded checkpoint: depth, matches, poses, words, real clips",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", default="mini", help="'mini', or the path of a checkpoint")
    parser.add_argument("--rooms", type=Path, metavar="SHARD", help="test rooms; default: rendered anew")
    parser.add_argument("--kitchen", type=Path, metavar="FOLDER", help="the sequence 7-Scenes RedKitchen")
    parser.add_argument(
        "--desk", type=Path, default=DESK, metavar="FOLDER", help="the clip with rgb/ and groundtruth.txt"
    )
    parser.add_argument(
        "--aliked", type=Path, metavar="FILE", help="ALIKED's weights, for its figures beside"
    )
    parser.add_argument("--furniture", type=Path, help="furniture libraries for rooms rendered anew")
    parser.add_argument("--pairs", type=int, default=120, help="pairs for matches and for poses")
    parser.add_argument("--views", type=int, default=240, help="views for depth and words")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench-mini"), help="folder of mini.json and pictures"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Raises ConfigError, CheckpointError, and ImportError where rooms cannot be rendered."""
    from tqdm import tqdm

    from sab3r_ros.evaluation.mini import Bench, line, table
    from sab3r_ros.model.feature_model import load_model
    from sab3r_ros.querying.text import load_text_encoder
    from sab3r_ros.training.shards import Shard, Vocabulary

    for folder in (args.kitchen, args.rooms, args.desk if args.desk != DESK else None):
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder")
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_model(args.checkpoint, "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        rooms = Shard(args.rooms or render(Path(scratch), args.furniture), Vocabulary(), SIZE)
        kitchen = (
            Shard(read_kitchen(args.kitchen, Path(scratch)), Vocabulary(), SIZE) if args.kitchen else None
        )
        desk = args.desk if args.desk.is_dir() else None
        bench = Bench(
            model,
            load_text_encoder(model.language),
            rooms,
            kitchen,
            desk,
            args.kitchen,
            args.aliked,
            args.out,
            args.pairs,
            args.views,
        )
        rows = []
        for row in bench.rows():
            rows.append(row)
            tqdm.write(line(row), file=sys.stderr)
    missing = [name for name, there in (("--kitchen", args.kitchen), ("--desk", desk)) if there is None]
    note = f"\nNot measured, as the data were not given: {', '.join(missing)}." if missing else ""
    sys.stdout.write(f"\n{model.identity}\n\n{table(rows)}\n{note}\n")
    values = [asdict(row) | {"met": row.met} for row in rows]
    (args.out / "mini.json").write_text(
        json.dumps({"model": model.identity, "rows": values}, indent=2) + "\n"
    )


def render(folder: Path, furniture: Path | None) -> Path:
    """Rooms of the test split as a shard, 192 × 256. Returns its folder."""
    from sab3r_ros.rooms.library import load_library
    from sab3r_ros.rooms.write import FIRST_SEED, write_rooms

    seeds = range(FIRST_SEED["test"], FIRST_SEED["test"] + ROOMS)
    write_rooms(folder / "test", "test", seeds, VIEWS_A_ROOM, SIZE[::-1], load_library(furniture))
    return folder / "test"


def read_kitchen(folder: Path, scratch: Path) -> Path:
    """Frames that never train, as a shard with the sensor's depth. Returns its folder."""
    from sab3r_ros.training.layouts import seven_scenes
    from sab3r_ros.training.rgbd import write_shard

    out = scratch / "kitchen"
    if write_shard(seven_scenes(folder, KITCHEN_FROM, 10**9), out, SIZE) == 0:
        raise ConfigError(
            f"{folder} holds no frames from {KITCHEN_FROM} on (frame-000500.color.jpg, .depth.png, .pose.txt)"
        )
    return out
