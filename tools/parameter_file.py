"""Writes config/mapper.yaml: every parameter with its meaning, range and default.

python tools/parameter_file.py > config/mapper.yaml
"""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import fields

from sab3r_ros.ros.params import GROUPS


def text() -> str:
    """The whole file."""
    lines = [
        "# Every parameter of mapper_node with its default: copy the lines that you change.",
        "# Made by python -m tools.parameter_file; a test keeps it true.",
        "/**:",
        "  ros__parameters:",
    ]
    for prefix, kind in GROUPS.items():
        indent = "    "
        if prefix:
            lines += ["", f"    # {(kind.__doc__ or '').splitlines()[0]}", f"    {prefix}:"]
            indent = "      "
        for field in fields(kind):
            described = field.metadata["text"] + span(field.metadata.get("low"), field.metadata.get("high"))
            lines += [f"{indent}# {line}" for line in textwrap.wrap(described, 110, break_on_hyphens=False)]
            lines.append(f"{indent}{field.name}: {literal(field.default)}")
    return "\n".join(lines) + "\n"


def span(low: float | None, high: float | None) -> str:
    """' [0.1, 100]', ' [≥ 1]' or nothing."""
    if low is None:
        return ""
    return f" [≥ {low:g}]" if high is None else f" [{low:g}, {high:g}]"


def literal(value: object) -> str:
    """As YAML 1.1 reads it back: a float always with its point."""
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0") if 0 < abs(value) < 1e-3 else repr(value)
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(text())
