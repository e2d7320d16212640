"""`sab3r distill`: train the embedded network on rooms and recordings."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import fields
from pathlib import Path

EXAMPLES = """examples:
  sab3r distill --train build/rooms/train-0 --train build/rooms/train-1 --val build/rooms/val-0 --out build/mini
  sab3r distill --config config/distill.yaml --train build/rooms/train-0 --out build/mini --hours 2
  sab3r distill --config config/distill_pairs.yaml --rounds 2 --init build/mini/average.safetensors --train build/rooms/train-0 \
      --out build/pairs                                        the stage in which two views compare each other, alone
  torchrun --nproc-per-node 2 -m sab3r_ros.cli distill ...     several processes; gradients are averaged

Shards are written by `python -m sab3r_ros.rooms.write` (rooms) and `python -m sab3r_ros.training.rgbd` (recordings and
published data sets). SHARD:3 is drawn from three times as often as its size alone would have it."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "distill",
        help="train the embedded network",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="YAML with DistillConfig's fields")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one field, over the YAML's"
    )
    parser.add_argument(
        "--train", action="append", required=True, metavar="SHARD[:WEIGHT]", help="folder of frames; repeat"
    )
    parser.add_argument(
        "--val", action="append", default=[], type=Path, metavar="SHARD", help="validation folder; repeat"
    )
    parser.add_argument(
        "--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"), help="of the stored frames"
    )
    parser.add_argument("--init", help="checkpoint to start from; default: ImageNet stem, the rest random")
    parser.add_argument(
        "--blocks",
        type=int,
        help="transformer blocks; those that --init lacks begin as nothing; default: as it has",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help="of two views comparing each other, in a stage that begins as nothing; default: as --init has it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="run folder: state.pt to resume, average.safetensors, curves (CSV, TensorBoard)",
    )
    parser.add_argument("--hours", type=float, default=math.inf, help="stop (resumably) after so long")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import torch
    import yaml

    from sab3r_ros.config import DistillConfig, from_dict
    from sab3r_ros.model import SAB3R, SAB3RConfig
    from sab3r_ros.model.stem import load_imagenet_stem
    from sab3r_ros.model.weights import load_checkpoint, save_checkpoint
    from sab3r_ros.querying.text import load_text_encoder
    from sab3r_ros.training.captions import CaptionVectors
    from sab3r_ros.training.deepen import deepened, with_cross_view
    from sab3r_ros.training.distill import Trainer
    from sab3r_ros.training.pairs import PairStream
    from sab3r_ros.training.shards import Shard, Vocabulary
    from sab3r_ros.training.validation import validate

    values = yaml.safe_load(args.config.read_text()) if args.config else {}
    kinds = {f.name: type(f.default) for f in fields(DistillConfig)}
    for item in args.set:
        key, _, value = item.partition("=")
        values[key] = kinds.get(key, str)(value)
    config = from_dict(DistillConfig, values)

    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        torch.distributed.init_process_group("gloo")
    torch.manual_seed(config.seed)

    size = tuple(args.size)
    vocabulary = Vocabulary()
    weighted = [(Path(spec.partition(":")[0]), float(spec.partition(":")[2] or 1)) for spec in args.train]
    train = [(Shard(folder, vocabulary, size), weight) for folder, weight in weighted]
    checks = {folder.name: Shard(folder, Vocabulary(), size) for folder in args.val}
    captions = CaptionVectors(vocabulary, load_text_encoder("minilm-l6-v2"))
    classes = {
        name: CaptionVectors(shard.vocabulary, captions.text).classes() for name, shard in checks.items()
    }

    if args.init:
        model = load_checkpoint(args.init)
    else:
        model = SAB3R(SAB3RConfig.mini())
        load_imagenet_stem(model.stem)
    if args.blocks:
        model = deepened(model, args.blocks)
    if args.rounds:
        model = with_cross_view(model, args.rounds)
    model = model.float().to(memory_format=torch.channels_last)

    def figures(averaged: torch.nn.Module) -> dict[str, float]:
        return {
            f"{name}/{key}": value
            for name, shard in checks.items()
            for key, value in validate(averaged, shard, classes[name]).items()
        }

    stream = PairStream(
        train,
        config.batch_pairs,
        config.matches,
        (config.min_overlap, config.max_overlap),
        config.seed,
        rank=rank,
        processes=processes,
    )
    Trainer(model, stream, captions, config, args.out, figures, save_checkpoint).run(args.hours * 3600)
