"""Downloads from a model hub: resolved to a commit first, resumed where they stopped, checked against the hub's sha256."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin

from tqdm import tqdm

from sab3r_ros.errors import CheckpointError
from sab3r_ros.model.weights import file_digest

HUB = "https://huggingface.co"
TIMEOUT_S = 20.0
BLOCK = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file on the hub at one commit. size: bytes. sha256: empty where the hub gives none (small files)."""

    url: str
    revision: str
    size: int
    sha256: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The hub tells commit, size and sha256 in the answer that redirects to the storage."""

    def redirect_request(self, *_args: object) -> None:
        return None


def hub() -> str:
    """The hub's address; HF_ENDPOINT names a mirror, as for the hub's own tools."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


def resolve(repo: str, file: str, revision: str) -> Remote:
    """Ask the hub for a file's commit, size and sha256. Raises CheckpointError when it cannot be had."""
    url = f"{hub()}/{repo}/resolve/{quote(revision, safe='')}/{quote(file)}"
    for _ in range(5):  # a renamed repository redirects within the hub
        try:
            opener = urllib.request.build_opener(_NoRedirect)
            answer = opener.open(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code not in (301, 302, 303, 307, 308):
                hint = (
                    "it may need an account or have moved"
                    if error.code in (401, 403, 404)
                    else "try again later"
                )
                raise CheckpointError(f"{url}: HTTP {error.code}; {hint}") from error
            answer = error
        except (OSError, http.client.HTTPException) as error:
            raise CheckpointError(f"cannot reach {hub()} ({error})") from error
        headers = answer.headers
        if "X-Repo-Commit" in headers:
            sha256 = headers.get("X-Linked-Etag", "").strip('"')
            size = int(headers.get("X-Linked-Size") or headers.get("Content-Length") or 0)
            pinned = url.replace(
                f"/resolve/{quote(revision, safe='')}/", f"/resolve/{headers['X-Repo-Commit']}/"
            )
            return Remote(pinned, headers["X-Repo-Commit"], size, sha256 if len(sha256) == 64 else "")
        url = urljoin(url, headers.get("Location", url))
    raise CheckpointError(f"{url}: the hub names no commit for this file")


def resolve_address(address: str, file: str) -> Remote:
    """Ask a plain web server for a file's size. Raises CheckpointError when it cannot be had."""
    url = f"{address}/{quote(file)}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S) as answer:
            return Remote(url, "", int(answer.headers.get("Content-Length") or 0), "")
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(f"cannot get {url} ({error})") from error


def download(remote: Remote, target: Path, sha256: str = "") -> str:
    """Fetch into target, which appears only when it is whole and its sha256 right. Returns its sha256.

    sha256: expected where the server publishes none. A stopped download is resumed only by the same revision.
    Raises CheckpointError.
    """
    which = (remote.sha256 or remote.revision)[:8]
    part = target.with_name(f"{target.name}.{which}.part" if which else f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.exists() else 0
    if remote.size and done > remote.size:
        part.unlink()
        done = 0
    if done < remote.size or not remote.size:
        _stream(remote, part, done)
    if remote.size and part.stat().st_size != remote.size:
        raise CheckpointError(
            f"{remote.url}: got {part.stat().st_size} of {remote.size} bytes; run again to resume"
        )
    expected, got = remote.sha256 or sha256, file_digest(part)
    if expected and got != expected:
        part.unlink()
        raise CheckpointError(
            f"{remote.url}: sha256 is {got}, not {expected}; the file was discarded. Try again; if it stays so, the "
            "published file has changed"
        )
    os.replace(part, target)
    return got


def _stream(remote: Remote, part: Path, done: int) -> None:
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            resumed = done > 0 and answer.status == 206
            bar = tqdm(
                desc=part.name.removesuffix(".part"),
                total=remote.size or None,
                initial=done if resumed else 0,
                unit="B",
                unit_scale=True,
            )
            with part.open("ab" if resumed else "wb") as file, bar:
                while block := answer.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(f"{remote.url}: the download stopped ({error}); run again to resume") from error
