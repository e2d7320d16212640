"""The only home of defaults. Every field names its unit and valid range; ROS parameters and the command line read them from here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from sab3r_ros.errors import ConfigError

T = TypeVar("T")


def option(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field with its description and inclusive range, for `--help`, ROS parameters and checks."""
    return field(default=default, metadata={"text": text, "low": low, "high": high})


class Checked:
    """Checks each numeric field of a dataclass against its stated range. Raises ConfigError naming the field."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            value, low, high = getattr(self, f.name), f.metadata.get("low"), f.metadata.get("high")
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                raise ConfigError(f"{f.name} = {value!r} is out of range [{low}, {high}]: {f.metadata['text']}")


def from_dict(kind: type[T], values: dict[str, Any]) -> T:
    """Build a configuration from a dictionary. An unknown key raises ConfigError with the nearest known key."""
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"unknown option '{key}' for {kind.__name__}{hint}")
    return kind(**values)


@dataclass(frozen=True)
class MapperConfig(Checked):
    """How frames become a map (paper Sec. 4; windows of overlapping keyframes)."""

    window: int = option(4, "keyframes in a window", 2, 16)
    shared: int = option(2, "keyframes that a window shares with the one before", 1, 15)
    keyframe_disparity: float = option(
        0.06, "median image motion that makes a new keyframe, as a fraction of the image width", 0.0, 1.0
    )
    voxel_size_m: float = option(0.03, "edge of a map voxel, metres", 0.005, 1.0)
    min_confidence: float = option(1.5, "pointmap confidence below which a pixel is not mapped", 1.0, 1e6)


@dataclass(frozen=True)
class LocateConfig(Checked):
    """How a text query becomes objects."""

    min_score: float = option(0.5, "objects that score less are not returned", 0.0, 1.0)
    max_objects: int = option(10, "most objects in an answer", 1, 1000)
    max_query_length: int = option(1000, "longest query, characters", 1, 100_000)
