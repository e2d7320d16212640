"""What an answer says to people."""

from __future__ import annotations

import numpy as np

from sab3r_ros.querying.language import Request
from sab3r_ros.types import LocatedObject


def place_of(point: np.ndarray) -> str:
    """ "(1.20, 0.30, 0.75) m"."""
    x, y, z = point
    return f"({x:.2f}, {y:.2f}, {z:.2f}) m"


def found_message(
    request: Request,
    things: int,
    objects: list[LocatedObject],
    found: list[LocatedObject],
    count: int,
    most: int,
    notes: list[str],
) -> str:
    """things: how many the name fits. objects: scored for what else was asked. found: those above the threshold, at least the
    best `most` of them. count: how many there are.
    """
    said = f"; {'; '.join(notes)}" if notes else ""
    if not found:
        best = max(o.score for o in objects)
        what = f"{things} '{request.thing}' found, best at {place_of(objects[0].centroid)}, score {best:.2f}"
        return f"no '{request.label}' found. Nearest: {what}{said}"
    what = f"{count} object{'s' if count > 1 else ''}"
    shown = f", the first {most} returned" if count > most else ""
    where = f"best at {place_of(found[0].centroid)}, score {found[0].score:.2f}"
    return f"{what} found for '{request.label}'{shown}; {where}{said}"


def miss_message(
    label: str, name: str, place: np.ndarray, score: float, threshold: float, min_voxels: int
) -> str:
    """What came nearest, where, and by how much it missed."""
    where = f"something like '{name}' at {place_of(place)}, score {score:.2f}"
    if score >= threshold:  # a few voxels that fit, too few or too far apart for an object
        where += f", but smaller than {min_voxels} voxels"
    else:
        where += f", {threshold - score:.2f} under the {threshold:.2f} that is needed"
    return f"no '{label}' found. Nearest: {where}"
