"""The first fetch decides: commit and sha256 of each published file, kept beside the cached weights and held to afterwards."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from sab3r_ros.config import from_dict
from sab3r_ros.errors import CheckpointError, ConfigError
from sab3r_ros.model.catalog import cache_folder

RENEW = "`--revision COMMIT` takes another on purpose and renews the lock"


@dataclass(frozen=True)
class Locked:
    """revision: commit of the hub's repository, empty where there is none (plain web folders, files put there by hand).
    sha256: of the file, 64 hexadecimal digits."""

    revision: str
    sha256: str


def lock_file() -> Path:
    """One JSON object: "NAME/FILE" → its `Locked`."""
    return cache_folder() / "weights.lock.json"


def _read() -> dict[str, dict[str, str]]:
    try:
        return dict(json.loads(lock_file().read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{lock_file()} cannot be read ({error}): repair it, or delete it to trust what is fetched next"
        ) from error


def locked(key: str) -> Locked | None:
    """What a file was when it first came. Raises CheckpointError if the lock is unreadable."""
    try:
        return from_dict(Locked, entry) if (entry := _read().get(key)) else None
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{lock_file()} has no usable entry for {key}: {error}") from error


def lock(key: str, entry: Locked) -> None:
    """Remember a file as it is now, in place of what was locked before."""
    entries = _read() | {key: asdict(entry)}
    lock_file().parent.mkdir(parents=True, exist_ok=True)
    temporary = lock_file().with_suffix(".part")
    temporary.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, lock_file())


def hold(key: str, sha256: str, what: str) -> None:
    """Raises CheckpointError if `what` has another sha256 than the one that is locked for `key`."""
    known = locked(key)
    if known and known.sha256 != sha256:
        raise CheckpointError(
            f"{what} has changed: its sha256 is {sha256}, but {lock_file()} has {known.sha256} since the first fetch; {RENEW}"
        )
