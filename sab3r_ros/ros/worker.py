"""A thread that works through a bounded queue; when it is full the oldest item goes, and is counted."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


class Worker(Generic[T]):
    """Calls `work(item)` for every item put, in order, in its own thread, and `idle()` once after `idle_s` seconds without one.

    An exception in either is logged with its traceback, and the next item taken.
    """

    def __init__(
        self, work: Callable[[T], None], length: int, idle: Callable[[], None], idle_s: float
    ) -> None:
        self._work, self._length, self._idle, self._idle_s = work, length, idle, idle_s
        self._items: deque[T] = deque()
        self._change = threading.Condition()
        self._in_hand = self._stopping = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items put and not yet worked on, the one in hand among them."""
        with self._change:
            return len(self._items) + self._in_hand

    def put(self, item: T) -> None:
        """Queue an item; if the queue is full its oldest item is dropped."""
        with self._change:
            if len(self._items) >= self._length:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._change.notify()

    def clear(self) -> None:
        """Forget what waits."""
        with self._change:
            self._items.clear()

    def stop(self) -> None:
        """Forget what waits and take nothing more; the item in hand is finished (`join` waits for that)."""
        with self._change:
            self._stopping = True
            self._items.clear()
            self._change.notify()

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended within `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        rested = True
        while not self._stopping:
            with self._change:
                there = self._change.wait_for(
                    lambda: self._items or self._stopping, None if rested else self._idle_s
                )
                item = self._items.popleft() if self._items else None
                self._in_hand = item is not None
            if item is not None:
                self._guarded(self._work, item)
            elif not there:
                self._guarded(self._idle)
            rested = item is None

    def _guarded(self, call: Callable[..., None], *arguments: T) -> None:
        try:
            call(*arguments)
        except Exception:
            log.exception("going on with the next image after an error")
