"""`sab3r bench`: published benchmarks, one subcommand a table. Each module `bench_*` beside this one adds its own."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

from sab3r_ros import commands

PREFIX = "bench_"


def add_parser(sub: argparse._SubParsersAction) -> None:
    parser = sub.add_parser("bench", help="measure a network on published benchmarks")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="BENCHMARK")
    for module in sorted(m.name for m in pkgutil.iter_modules(commands.__path__)):
        if module.startswith(PREFIX):
            importlib.import_module(f"sab3r_ros.commands.{module}").add_parser(benches)


def add_network_options(parser: argparse.ArgumentParser, out: str) -> None:
    """What every published benchmark asks: which network, where, how much of the data, and where results go."""
    parser.add_argument(
        "--model", default="mini", help="mini, sab3r, mast3r, mast3r+maskclip, or a checkpoint; default mini"
    )
    parser.add_argument("--device", help="cpu, cuda, …; default: cuda if there is one")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only so many images or scenes, evenly spread"
    )
    parser.add_argument("--out", type=Path, default=Path(out), help=f"folder of the results; default {out}")


def positive(text: str) -> int:
    """An argument that counts something."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
