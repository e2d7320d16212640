"""`sab3r locate`: ask a map where things are."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sab3r_ros.config import LocateConfig, NodeConfig
from sab3r_ros.errors import ImageError, QueryError
from sab3r_ros.types import LocateAnswer

if TYPE_CHECKING:
    from sab3r_ros.mapping.map_file import SavedMap
    from sab3r_ros.querying.views import ObjectViews

    Views = dict[int, ObjectViews | None]

EXAMPLES = """examples:
  sab3r locate room.sab3r "a black office chair"
  sab3r locate room.sab3r "a mug" "a keyboard" --json
  sab3r locate room.sab3r "a sofa" --distractor "an armchair" --min-score 0.3
  sab3r locate room.sab3r "the lamp on the desk" "the smallest chair"
  sab3r locate room.sab3r --point 1.2 0.3 0.8         what is there, and where else?
  sab3r locate room.sab3r --image my_mug.jpg          what looks like this picture?

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
    parser.add_argument("queries", nargs="*", metavar="QUERY", help="what to look for, in words")
    parser.add_argument(
        "--point",
        nargs=3,
        type=float,
        metavar=("X", "Y", "Z"),
        help="a point of the map, metres: what is there?",
    )
    parser.add_argument("--image", metavar="FILE", help="a picture of the thing to look for")
    parser.add_argument(
        "--model",
        default=NodeConfig().model,
        help="for --image: the network that made the map; default %(default)s",
    )
    parser.add_argument(
        "--distractor", action="append", default=[], metavar="WORDS", help="what is not meant; repeat"
    )
    parser.add_argument("--min-score", type=float, metavar="0..1", help=f"default {default.min_score:g}")
    parser.add_argument(
        "--max-objects", type=int, metavar="N", help=f"a query; default {default.max_objects}"
    )
    parser.add_argument(
        "--views",
        action="store_true",
        help="also say when each object was seen first and last, and from where best",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with the answer to each query")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises MapFileError, QueryError, and for --image ImageError and CheckpointError."""
    from sab3r_ros.mapping.map_file import load_map
    from sab3r_ros.querying.locate import locator_of
    from sab3r_ros.querying.views import views_of

    if not (args.queries or args.point or args.image):
        raise QueryError("nothing was asked: say what to look for, or give --point or --image")
    saved = load_map(args.map)
    locator, snapshot = locator_of(saved), saved.snapshot
    limits = (args.min_score, args.max_objects)
    asks: dict[str, Callable[[], LocateAnswer]] = {
        query: partial(locator.locate, snapshot, query, args.distractor, *limits) for query in args.queries
    }
    if args.point:
        name = "({:g}, {:g}, {:g})".format(*args.point)
        asks[name] = partial(locator.at_point, snapshot, np.array(args.point), args.max_objects)
    if args.image:
        asks[args.image] = partial(locator.like, snapshot, vector_of(args, saved), args.image, *limits)
    answers, latency_ms = {}, {}
    for query, ask in asks.items():
        start = time.perf_counter()
        answers[query] = ask()
        latency_ms[query] = 1e3 * (time.perf_counter() - start)
    seen = {o.id: views_of(snapshot, o) for a in answers.values() for o in a.objects} if args.views else {}
    if args.json:
        rows = {query: as_json(answer, latency_ms[query], seen) for query, answer in answers.items()}
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        sys.stdout.write("".join(as_text(query, answer, seen) for query, answer in answers.items()))
    return 0 if all(answer.success for answer in answers.values()) else 1


def vector_of(args: argparse.Namespace, saved: SavedMap) -> np.ndarray:
    """The language vector of the picture. Raises ImageError, CheckpointError, QueryError."""
    import cv2

    from sab3r_ros.model.feature_model import load_model
    from sab3r_ros.querying.pictures import image_vector

    image = cv2.imread(args.image, cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f"cannot read a picture from {args.image}: give a JPEG or PNG file")
    model = load_model(args.model)
    if model.identity != saved.model_identity:
        raise QueryError(
            f"the map is of model {saved.model_identity}, --model {args.model} is {model.identity}: name the map's own"
        )
    return image_vector(model, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def as_text(query: str, answer: LocateAnswer, seen: Views) -> str:
    """The message, then a line an object, and one on its views if they were asked for."""
    lines = [f"{query}: {answer.message}\n"]
    for rank, o in enumerate(answer.objects, 1):
        x, y, z = o.centroid
        a, b, c = o.box_size
        lines.append(
            f"  {rank:2d}. score {o.score:.2f}  at ({x:6.2f}, {y:6.2f}, {z:6.2f}) m  "
            f"size {a:.2f} × {b:.2f} × {c:.2f} m  {len(o.indices)} voxels\n"
        )
        if views := seen.get(o.id):
            lines.append(
                f"      seen by {len(views.keyframes)} keyframes, first at {views.first_seen_s:.2f} s, "
                f"last at {views.last_seen_s:.2f} s, best by keyframe {views.best}\n"
            )
    return "".join(lines)


def as_json(answer: LocateAnswer, latency_ms: float, seen: Views) -> dict:
    """Plain numbers: metres in the map frame, R_WB as rows."""
    return {
        "success": answer.success,
        "message": answer.message,
        "best_score": round(answer.best_score, 4),
        "latency_ms": round(latency_ms, 2),
        "objects": [
            {
                "id": o.id,
                "label": o.label,
                "score": round(o.score, 4),
                "centroid": [round(float(v), 4) for v in o.centroid],
                "box": {
                    "center": [round(float(v), 4) for v in o.box_center],
                    "size": [round(float(v), 4) for v in o.box_size],
                    "R_WB": [[round(float(v), 6) for v in row] for row in o.box_R],
                },
                "voxels": len(o.indices),
                **views_as_json(seen.get(o.id)),
            }
            for o in answer.objects
        ],
    }


def views_as_json(views: ObjectViews | None) -> dict:
    """Stamps in seconds; keyframes are rows of the map's trajectory. Empty if they are not known."""
    if views is None:
        return {}
    return {
        "first_seen_s": views.first_seen_s,
        "last_seen_s": views.last_seen_s,
        "keyframes": views.keyframes.tolist(),
        "best_keyframe": views.best,
    }
