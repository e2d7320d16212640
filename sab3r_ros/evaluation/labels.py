"""The NYU40 taxonomy as questions.

Reading taken: label 0 and the three classes that name nothing a query could ask for (otherstructure, otherfurniture,
otherprop) are void; the other 37 are asked for all at once, whichever of them a group shows. The paper (Sec. 3) says
"NYU40" and "out-of-class pixels are assigned a void label", and does not list its queries.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from sab3r_ros.errors import ConfigError

VOID = -1

NYU40 = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refridgerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
ASKED = tuple(name.replace("refridgerator", "refrigerator") for name in NYU40[:37])
_INDEX = {name: k for k, name in enumerate(NYU40[:37])}


def asked_index(nyu40: str) -> int:
    """Index into ASKED of an NYU40 class name; VOID for the rest."""
    return _INDEX.get(nyu40, VOID)


def scannet_lookup(tsv: Path) -> np.ndarray:
    """`scannetv2-labels.combined.tsv` → (raw id + 1,) int16: the index into ASKED of a raw label id, or VOID.

    Raises ConfigError if the file is missing or has other columns.
    """
    try:
        with tsv.open(newline="") as file:
            pairs = [(int(r["id"]), int(r["nyu40id"] or 0)) for r in csv.DictReader(file, delimiter="\t")]
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{tsv} is not ScanNet's label table ({error!r}): give --label-map its scannetv2-labels.combined.tsv"
        ) from error
    lookup = np.full(max((raw for raw, _ in pairs), default=0) + 1, VOID, np.int16)
    for raw, nyu in pairs:
        if 1 <= nyu <= len(ASKED):
            lookup[raw] = nyu - 1
    return lookup
