"""What a score means in a language space: weights fitted on rooms with truth, one set a space, in calibration.json.

`python bench/locate.py --calibrate` fits them to a network's features (bench/locate_calibrate.py).
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import numpy as np

from sab3r_ros.querying.text import OpenClip

FILE = Path(__file__).parent / "calibration.json"
TRAITS = ("strength", "fade", "lead", "common", "size", "fill", "small")  # of a candidate: see score.traits
WEIGHTS = (*TRAITS, "offset")


@cache
def calibrations() -> dict[str, dict[str, float]]:
    """Of each language space that has its own: the weights of TRAITS, and an offset, in a logistic regression."""
    return json.loads(FILE.read_text())


def calibration_of(space: str) -> np.ndarray:
    """(len(WEIGHTS),) of a language space; of one that was never calibrated those of CLIP, as most spaces are like it."""
    known = calibrations()
    values = known.get(space, known[OpenClip.space])
    return np.array([values[name] for name in WEIGHTS])


def write(space: str, weights: np.ndarray) -> Path:
    """Put a space's weights (len(WEIGHTS),) beside the others; returns the file."""
    values = {name: round(float(w), 2) for name, w in zip(WEIGHTS, weights, strict=True)}
    temporary = FILE.with_suffix(".part")
    temporary.write_text(json.dumps(calibrations() | {space: values}, indent=2) + "\n")
    os.replace(temporary, FILE)
    calibrations.cache_clear()
    return FILE
