"""What a run found, gathered once for the tables, the record and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sab3r_ros.config import MapAndLocateConfig
from sab3r_ros.evaluation.cost import Cost, cost_of_model
from sab3r_ros.evaluation.data_sets import DataSet
from sab3r_ros.evaluation.systems import System
from sab3r_ros.evaluation.table import Row, rows_of

BARS = 3  # views of the per-class table and bars, as in the paper's Fig. 4


@dataclass(frozen=True)
class Outcome:
    """results: by data set, of all its scenes. missing: rows that cannot be had, and why."""

    sets: Sequence[DataSet]
    results: dict[str, list[dict]]
    systems: Sequence[System]
    missing: dict[str, str]
    config: MapAndLocateConfig

    @cached_property
    def rows(self) -> dict[str, list[Row]]:
        """By data set, one a system."""
        names = [s.name for s in self.systems]
        return {name: rows_of(results, names) for name, results in self.results.items()}

    @cached_property
    def costs(self) -> dict[str, Cost | None]:
        """Of each system, for the first data set's images; None for a bound."""
        scene = self.sets[0].scenes[0]
        view = next(v for k in range(scene.frames) if (v := scene.load(k)) is not None)
        return {s.name: cost_of_model(s.model([view], scene.classes), view.image) for s in self.systems}
