"""`sab3r bench`: published benchmarks, one subcommand a table. Each module `bench_*` beside this one adds its own."""

from __future__ import annotations

import argparse
import importlib
import pkgutil

from sab3r_ros import commands

PREFIX = "bench_"


def add_parser(sub: argparse._SubParsersAction) -> None:
    parser = sub.add_parser("bench", help="measure a network on published benchmarks")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="BENCHMARK")
    for module in sorted(m.name for m in pkgutil.iter_modules(commands.__path__)):
        if module.startswith(PREFIX):
            importlib.import_module(f"sab3r_ros.commands.{module}").add_parser(benches)
