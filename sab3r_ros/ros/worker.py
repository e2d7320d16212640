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
    """Calls `work(item)` for every item put, in order, in its own thread. An exception is logged and the next item taken."""

    def __init__(self, work: Callable[[T], None], length: int, name: str) -> None:
        self._work, self._length = work, length
        self._items: deque[T] = deque()
        self._change = threading.Condition()
        self._stopping = self._busy = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        with self._change:
            if len(self._items) >= self._length:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._change.notify()

    def wait_idle(self, timeout: float) -> bool:
        """Whether all items are done within `timeout` seconds."""
        with self._change:
            return self._change.wait_for(lambda: not self._items and not self._busy, timeout)

    def stop(self, timeout: float) -> bool:
        """Finish the item in hand, drop the others, end the thread. False if it did not end within `timeout` seconds."""
        with self._change:
            self._stopping = True
            self._items.clear()
            self._change.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._change:
                self._busy = False
                self._change.notify_all()
                self._change.wait_for(lambda: self._items or self._stopping)
                if self._stopping:
                    return
                item, self._busy = self._items.popleft(), True
            try:
                self._work(item)
            except Exception:
                log.exception("an item failed; going on with the next")
