"""Whether images arrive as they were taken: late, or with some lost on the way."""

from __future__ import annotations

import numpy as np

WINDOW = 20  # images that are looked at together
LATE_FACTOR = 1.5  # arrivals take so much longer than the stamps say
LOST_SHARE = 0.4  # of the images that the stamps let expect, or of those that the middleware knows of
FEWEST_LOST = 5  # fewer are no cause for a complaint


class RateWatch:
    """Compares arrival times with stamps, WINDOW images at a time."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._lost = 0

    def lose(self, count: int) -> str | None:
        """Note images that the middleware knows to have been lost. Returns a complaint when they are many."""
        self._lost += count
        total = self._lost + len(self._seen)
        if self._lost < FEWEST_LOST or self._lost < LOST_SHARE * total:
            return None
        return f"of {total} images {self._lost} were lost on the way"

    def add(self, arrival: float, stamp: float) -> str | None:
        """Note an image; both times in seconds. Returns a complaint when a window of images has given cause for one."""
        if self._seen and stamp <= self._seen[-1][1]:
            self._seen = []  # a bag begins again
        self._seen.append((arrival, stamp))
        if len(self._seen) < WINDOW:
            return None
        arrivals, stamps = np.array(self._seen).T
        self._seen, self._lost = [], 0
        took, should = arrivals[-1] - arrivals[0], stamps[-1] - stamps[0]
        if took > LATE_FACTOR * should:
            return (
                f"{WINDOW} images that were stamped within {should:.1f} s took {took:.1f} s to arrive: "
                "the transport is too slow, or the source replays slowly"
            )
        period = float(np.percentile(np.diff(stamps), 25))
        expected = round(should / period) + 1
        if (1 - LOST_SHARE) * expected > WINDOW:
            return (
                f"of about {expected} images (one every {1000 * period:.0f} ms by their stamps) only {WINDOW} arrived: "
                "the others were lost on the way"
            )
        return None
