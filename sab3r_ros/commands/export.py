"""`sab3r export`: a map for other programs and for eyes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sab3r_ros.errors import ConfigError

EXAMPLES = """examples:
  sab3r export room.sab3r map.ply trajectory.txt
  sab3r export room.sab3r map.png --query "a mug" --query "a keyboard"
  sab3r export room.sab3r --objects things/ --query "an office chair"
  sab3r export room.sab3r --colmap sparse/0 --camera 640 480 525 525 319.5 239.5"""
SUFFIXES = {
    ".ply": "cloud with colours and confidence",
    ".pcd": "cloud with colours",
    ".txt": "camera path, TUM format",
    ".png": "picture of map, path and what the queries find",
}


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="write a map as PLY, PCD, TUM, COLMAP or a picture",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", help="a .sab3r file")
    kinds = "; ".join(f"{suffix}: {what}" for suffix, what in SUFFIXES.items())
    parser.add_argument("out", nargs="*", type=Path, help=f"files to write; the ending decides. {kinds}")
    parser.add_argument(
        "--query", action="append", default=[], help="what to find, for --objects and pictures"
    )
    parser.add_argument("--objects", type=Path, metavar="FOLDER", help="a PLY for each object that is found")
    parser.add_argument("--colmap", type=Path, metavar="FOLDER", help="COLMAP's text model")
    parser.add_argument(
        "--camera",
        type=float,
        nargs=6,
        metavar=("WIDTH", "HEIGHT", "FX", "FY", "CX", "CY"),
        help="image size and intrinsics in pixels, for --colmap",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not fit, MapFileError and QueryError."""
    from sab3r_ros.mapping.map_file import load_map
    from sab3r_ros.querying.locate import locator_of
    from sab3r_ros.viz import export
    from sab3r_ros.viz.picture import draw_map

    check(args)
    saved = load_map(args.map)
    snapshot = saved.snapshot
    locator = locator_of(saved) if args.query else None
    answers = {query: locator.locate(snapshot, query) for query in args.query} if locator else {}
    writers = {
        ".ply": lambda path: export.write_ply(path, snapshot.points, snapshot.colors, snapshot.confidence),
        ".pcd": lambda path: export.write_pcd(path, snapshot.points, snapshot.colors),
        ".txt": lambda path: export.write_tum(path, snapshot.trajectory),
        ".png": lambda path: draw_map(snapshot, answers, path),
    }
    for path in args.out:
        writers[path.suffix.lower()](path)
        say(path)
    if args.colmap:
        width, height, *intrinsics = args.camera
        export.write_colmap(args.colmap, snapshot, export.PinholeCamera(int(width), int(height), *intrinsics))
        say(args.colmap)
    if args.objects:
        objects = [found for answer in answers.values() for found in answer.objects]
        for path in export.write_objects(args.objects, snapshot, objects):
            say(path)
        for query, answer in answers.items():
            if not answer.success:
                sys.stderr.write(f"sab3r: {query}: {answer.message}\n")


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError before any work is done."""
    unknown = [str(path) for path in args.out if path.suffix.lower() not in SUFFIXES]
    if unknown:
        raise ConfigError(
            f"cannot tell what to write to {', '.join(unknown)}: end it in {', '.join(SUFFIXES)}"
        )
    if not (args.out or args.colmap or args.objects):
        raise ConfigError("nothing to write: name a file (map.ply, map.png, …), --colmap or --objects")
    if args.colmap and not args.camera:
        raise ConfigError("--colmap needs the camera: --camera WIDTH HEIGHT FX FY CX CY, in pixels")
    if args.objects and not args.query:
        raise ConfigError("--objects needs at least one --query")


def say(path: Path) -> None:
    sys.stdout.write(f"{path}\n")
