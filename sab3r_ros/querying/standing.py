"""Standing queries: asked once, answered when the thing comes into the map."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sab3r_ros.querying.locate import Locator
from sab3r_ros.types import LocatedObject, MapSnapshot

# What is called with the query, its new objects, and the map that their indices point into.
Report = Callable[[str, tuple[LocatedObject, ...], MapSnapshot], None]


@dataclass
class StandingQuery:
    """A query that waits. told: ids of the things already reported."""

    query: str
    report: Report
    told: set[int] = field(default_factory=set)


class StandingQueries:
    """Asks all standing queries of each new version of the map and reports each thing once. Thread-safe."""

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self._queries: dict[str, StandingQuery] = {}
        self._version = -1
        self._lock, self._updating = threading.Lock(), threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._queries)

    def add(self, query: str, report: Report) -> None:
        """Ask from now on; `report` is called from `update`. A query asked again starts anew.

        Raises QueryError if it is empty or too long.
        """
        self.locator.understood(query)
        with self._lock:
            self._queries[query] = StandingQuery(query, report)
            self._version = -1

    def remove(self, query: str) -> None:
        """Stop asking; nothing happens if it was not asked."""
        with self._lock:
            self._queries.pop(query, None)

    def clear(self) -> None:
        """Stop asking anything."""
        with self._lock:
            self._queries.clear()

    def start_anew(self) -> None:
        """Another map: everything is news again."""
        with self._lock:
            self._version = -1
            for standing in self._queries.values():
                standing.told.clear()

    def update(self, snapshot: MapSnapshot) -> int:
        """Look at a new version of the map. Returns how many things were reported; an unchanged or empty map costs nothing."""
        with self._updating:  # two maps at a time would report the same thing twice
            return self._update(snapshot)

    def _update(self, snapshot: MapSnapshot) -> int:
        with self._lock:
            if snapshot.version == self._version or len(snapshot.points) == 0:
                return 0
            self._version = snapshot.version
            waiting = list(self._queries.values())
        count = 0
        for standing in waiting:
            answer = self.locator.locate(snapshot, standing.query)
            new = tuple(o for o in answer.objects if o.id not in standing.told)
            standing.told.update(o.id for o in new)
            if new:
                standing.report(standing.query, new, snapshot)
                count += len(new)
        return count
