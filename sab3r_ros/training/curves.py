"""A run's curves: CSV files, and the same for TensorBoard where it is installed."""

from __future__ import annotations

import csv
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


NAMES = ("losses", "validation")


class Curves:
    """Appends rows to `<name>.csv` of a run's folder and to TensorBoard's event files beside them."""

    def __init__(self, folder: Path, step: int) -> None:
        """step: where the run goes on; what an interrupted run had recorded beyond it goes, here and in TensorBoard."""
        self.folder = folder
        for name in NAMES:
            forget_beyond(folder / f"{name}.csv", step)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.warning("curves go to CSV files only; for TensorBoard: pip install tensorboard")
            self.board = None
        else:
            self.board = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def record(self, name: str, step: int, seconds: float, values: dict[str, float]) -> None:
        """A row of `<name>.csv`. One whose columns have changed since begins a new file; the old one is kept."""
        row = {"step": step, "seconds": seconds, **values}
        path = self.folder / f"{name}.csv"
        header = next(csv.reader(path.open()), []) if path.is_file() else []
        if header and header != list(row):
            os.replace(path, self.folder / f"{name}-before-{step}.csv")
        with path.open("a", newline="") as f:
            writer = csv.DictWriter(f, row)
            if header != list(row):
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
        if self.board is not None:
            for key, value in values.items():
                self.board.add_scalar(f"{name}/{key}", value, step)
            self.board.flush()


def forget_beyond(path: Path, step: int) -> None:
    """Leave only the rows of a curve up to `step`: the run will write the later ones again."""
    if not path.is_file():
        return
    header, *lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and int(line.partition(",")[0]) <= step]
    if len(kept) < len(lines):
        part = path.with_suffix(".part")
        part.write_text(header + "".join(kept))
        os.replace(part, path)
