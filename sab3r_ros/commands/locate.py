"""`sab3r locate`: ask a map where things are."""

from __future__ import annotations

import argparse
import json
import sys
import time

from sab3r_ros.config import LocateConfig
from sab3r_ros.types import LocateAnswer

EXAMPLES = """examples:
  sab3r locate room.sab3r "a black office chair"
  sab3r locate room.sab3r "a mug" "a keyboard" --json
  sab3r locate room.sab3r "a sofa" --distractor "an armchair" --min-score 0.3

Exit status: 0 if every query found something, 1 if one did not."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    default = LocateConfig()
    parser = commands.add_parser(
        "locate",
        help="ask a map where things are",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("map", help="a .sab3r file")
    parser.add_argument("queries", nargs="+", metavar="QUERY", help="what to look for, in words")
    parser.add_argument(
        "--distractor", action="append", default=[], metavar="WORDS", help="what is not meant; repeat"
    )
    parser.add_argument("--min-score", type=float, metavar="0..1", help=f"default {default.min_score:g}")
    parser.add_argument(
        "--max-objects", type=int, metavar="N", help=f"a query; default {default.max_objects}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with the answer to each query")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises MapFileError and QueryError."""
    from sab3r_ros.mapping.map_file import load_map
    from sab3r_ros.querying.locate import locator_of

    saved = load_map(args.map)
    locator = locator_of(saved)
    answers, latency_ms = {}, {}
    for query in args.queries:
        start = time.perf_counter()
        answers[query] = locator.locate(
            saved.snapshot, query, args.distractor, args.min_score, args.max_objects
        )
        latency_ms[query] = 1e3 * (time.perf_counter() - start)
    if args.json:
        rows = {query: as_json(answer, latency_ms[query]) for query, answer in answers.items()}
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        sys.stdout.write("".join(as_text(query, answer) for query, answer in answers.items()))
    return 0 if all(answer.success for answer in answers.values()) else 1


def as_text(query: str, answer: LocateAnswer) -> str:
    """The message, then a line an object."""
    lines = [f"{query}: {answer.message}\n"]
    for rank, o in enumerate(answer.objects, 1):
        x, y, z = o.centroid
        a, b, c = o.box_size
        lines.append(
            f"  {rank:2d}. score {o.score:.2f}  at ({x:6.2f}, {y:6.2f}, {z:6.2f}) m  "
            f"size {a:.2f} × {b:.2f} × {c:.2f} m  {len(o.indices)} voxels\n"
        )
    return "".join(lines)


def as_json(answer: LocateAnswer, latency_ms: float) -> dict:
    """Plain numbers: metres in the map frame, R_WB as rows."""
    return {
        "success": answer.success,
        "message": answer.message,
        "best_score": round(answer.best_score, 4),
        "latency_ms": round(latency_ms, 2),
        "objects": [
            {
                "label": o.label,
                "score": round(o.score, 4),
                "centroid": [round(float(v), 4) for v in o.centroid],
                "box": {
                    "center": [round(float(v), 4) for v in o.box_center],
                    "size": [round(float(v), 4) for v in o.box_size],
                    "R_WB": [[round(float(v), 6) for v in row] for row in o.box_R],
                },
                "voxels": len(o.indices),
            }
            for o in answer.objects
        ],
    }
