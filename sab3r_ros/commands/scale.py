"""`sab3r scale`: one known distance makes a map metric."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sab3r_ros.errors import ConfigError, MapFileError, QueryError

if TYPE_CHECKING:
    from sab3r_ros.mapping.map_file import SavedMap

EXAMPLES = """examples:
  sab3r scale room.sab3r --metres 2.35 --points 0.4 0.1 0.7  1.9 -0.8 0.7
  sab3r scale room.sab3r --metres 0.62 --things "a monitor" "a teddy bear"     between their centres
  sab3r scale room.sab3r --metres 2.35 --points 0 0 0  1 0 0 --out metric.sab3r"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "scale",
        help="make a map metric by one known distance",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", type=Path, help="a .sab3r file")
    parser.add_argument("--metres", type=float, required=True, metavar="D", help="the true distance")
    ends = parser.add_mutually_exclusive_group(required=True)
    ends.add_argument(
        "--points",
        type=float,
        nargs=6,
        metavar=("X1", "Y1", "Z1", "X2", "Y2", "Z2"),
        help="two points of the map, in its present lengths",
    )
    ends.add_argument("--things", nargs=2, metavar="QUERY", help="two things that the map finds")
    parser.add_argument("--out", type=Path, metavar="MAP", help="where to write it; default: in place")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Raises ConfigError, QueryError and MapFileError."""
    from sab3r_ros.config import LoopConfig, MapperConfig
    from sab3r_ros.mapping.atlas import Atlas
    from sab3r_ros.mapping.map_file import load_map, save_map

    saved = load_map(args.map)
    if not saved.state:
        raise MapFileError(f"{args.map} holds no keyframes' poses, so nothing can move it: map again")
    a, b = np.reshape(args.points, (2, 3)) if args.points else things(saved, args.things)
    distance = float(np.linalg.norm(a - b))
    if not (args.metres > 0 and np.isfinite(args.metres) and distance > 0):
        raise ConfigError(
            f"{args.metres:g} m cannot be the distance of points {distance:g} apart: take two places and a length above 0"
        )
    factor = args.metres / distance
    everything = MapperConfig(max_map_mb=1e6)  # of a map that was made under another cap, too
    atlas = Atlas(everything, LoopConfig(), saved.snapshot.feature_dim, saved.model_identity)
    atlas.restore(saved.snapshot, saved.state)
    atlas.rescale(factor)
    out = args.out or args.map
    save_map(out, atlas.snapshot(), saved.model_identity, saved.language, saved.feature_basis, atlas.state())
    sys.stdout.write(f"{out}: all lengths times {factor:.4f}, metric now\n")


def things(saved: SavedMap, queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Centres (3,) of the best object of each query. Raises QueryError if one is not in the map."""
    from sab3r_ros.querying.locate import locator_of

    locator = locator_of(saved)
    answers = [locator.locate(saved.snapshot, query) for query in queries]
    for query, answer in zip(queries, answers, strict=True):
        if not answer.objects:
            raise QueryError(f"{query}: {answer.message}; give --points instead")
    return answers[0].objects[0].centroid, answers[1].objects[0].centroid
