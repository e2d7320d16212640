"""Writes the README's Map and Locate figures from a run's record: python tools/benchmark_figures.py build/bench/results.json"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
MARKED = re.compile(r"(<!-- map-and-locate -->\n).*?(<!-- end -->)", re.S)


def table(record: dict) -> str:
    """Rooms: mIoU, Acc and the median distance to the label, by group size; parameters and FLOPs."""
    lines = [
        "| 24 rooms | 2 views: mIoU / Acc % | 3 views | 4 views | parameters | FLOPs a frame |",
        "|" + " --- |" * 6,
    ]
    lines[0] = lines[0].replace("24", record["data"]["rooms"].split()[0])
    for name, row in record["figures"]["rooms"].items():
        cells = [f"{100 * row[n]['miou']:.1f} / {100 * row[n]['accuracy']:.1f}" for n in ("2", "3", "4")]
        cost = record["costs"][name]
        cells += [f"{cost['parameters'] / 1e6:.1f} M", f"{cost['flops'] / 1e9:.1f} G"] if cost else ["–", "–"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    figures = table(json.loads(Path(sys.argv[1]).read_text()))
    README.write_text(MARKED.sub(lambda m: m[1] + figures + m[2], README.read_text()))
