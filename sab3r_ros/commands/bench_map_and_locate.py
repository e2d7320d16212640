"""`sab3r bench map-and-locate`: the paper's benchmark, on ScanNet, on labelled RGB-D folders, and on rooms."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sab3r_ros.config import MapAndLocateConfig


EXAMPLES = """examples:
  sab3r bench map-and-locate --out build/bench                     24 rooms: nothing to download but furniture, 120 MB
  sab3r bench map-and-locate --rooms 0 --scannet scans --label-map scannetv2-labels.combined.tsv --out build/bench
  sab3r bench map-and-locate --rgbd shelf-labels15 --labels config/bench_shelf.yaml --out build/bench
  sab3r bench map-and-locate --row "mine=run/average.safetensors" --deeplab deeplabv3_mnv2_pascal_quant.tflite --out build/bench
  torchrun --nproc-per-node 2 -m sab3r_ros.cli bench map-and-locate --out build/bench      scenes over processes, or machines

Run again after an interruption: finished scenes stay. The folder then holds table.md, results.json and report.html."""


def add_parser(benches: argparse._SubParsersAction) -> None:
    parser = benches.add_parser(
        "map-and-locate",
        help="the paper's benchmark: 3D points and labels from 2 to 4 images",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results, tables and the report")
    parser.add_argument("--rooms", type=int, default=24, help="rendered rooms; default %(default)s, 0 = none")
    parser.add_argument(
        "--procedural", action="store_true", help="rooms with procedural furniture: no download"
    )
    parser.add_argument("--scannet", type=Path, metavar="SCANS", help="folder of ScanNet's scene folders")
    parser.add_argument("--label-map", type=Path, metavar="TSV", help="scannetv2-labels.combined.tsv")
    parser.add_argument("--scenes", type=Path, help="text file of ScanNet scenes; default: 24 of validation")
    parser.add_argument(
        "--rgbd",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="labelled RGB-D frames; repeat",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="YAML", help="what their labels mean, one file for all"
    )
    parser.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="another row: a model's name or a file",
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="this row and no other; repeat")
    parser.add_argument("--deeplab", type=Path, metavar="TFLITE", help="2D model of the row 'mini + DeepLab'")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one field of MapAndLocateConfig; repeat",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises ConfigError and CheckpointError if data or weights that were asked for cannot be read."""
    from sab3r_ros.evaluation.data_sets import data_sets
    from sab3r_ros.evaluation.outcome import Outcome
    from sab3r_ros.evaluation.runner import join_processes, run_scenes
    from sab3r_ros.evaluation.summary import write_summary
    from sab3r_ros.evaluation.systems import ROWS, load_systems

    config = config_of(args.set)
    rows = ROWS | dict(pair_of(item, "--row 'my network=FILE'") for item in args.row)
    if args.only:
        rows = {name: model_of(name, rows) for name in args.only}
    processes = join_processes()
    sets = data_sets(
        args.rooms, args.procedural, args.scannet, args.label_map, args.scenes, args.rgbd, args.labels
    )
    systems, missing = load_systems(rows, args.deeplab)
    results = {
        data.name: run_scenes(
            data.scenes, data.made_from, systems, config, args.out / "scenes" / data.name, processes
        )
        for data in sets
    }
    if processes.rank == 0:
        text = write_summary(Outcome(sets, results, systems, missing, config), args.out)
        sys.stdout.write(text)
    processes.wait()
    return 0


def pair_of(item: str, example: str) -> tuple[str, str]:
    """Raises ConfigError unless it is NAME=VALUE."""
    from sab3r_ros.errors import ConfigError

    name, equals, value = item.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"'{item}' should be like {example}")
    return name, value


def model_of(name: str, rows: dict[str, str]) -> str:
    """Raises ConfigError if no row has the name."""
    from sab3r_ros.errors import ConfigError

    if name not in rows:
        raise ConfigError(f"no row is called '{name}'; known: {', '.join(rows)}")
    return rows[name]


def config_of(items: list[str]) -> MapAndLocateConfig:
    """Raises ConfigError for an unknown field or a value out of range."""
    from sab3r_ros.config import MapAndLocateConfig, from_dict
    from sab3r_ros.errors import ConfigError

    kinds = {name: type(value) for name, value in asdict(MapAndLocateConfig()).items()}
    values = {}
    for item in items:
        name, value = pair_of(item, "--set max_overlap=0.9")
        try:
            values[name] = kinds.get(name, str)(value)
        except ValueError as error:
            raise ConfigError(f"--set {item}: {error}") from error
    return from_dict(MapAndLocateConfig, values)
