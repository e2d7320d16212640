"""`sab3r weights`: fetch, convert and inspect checkpoints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sab3r_ros.errors import CheckpointError

if TYPE_CHECKING:
    from sab3r_ros.model.catalog import Source

EXAMPLES = """examples:
  sab3r weights fetch mast3r                     shows size, sha256 and licence, asks, downloads, converts
  sab3r weights fetch clip --accept-licence      without asking
  sab3r weights convert base.pt --name sab3r     a file that you already have
  sab3r weights inspect mini                     what is in a checkpoint"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "weights",
        help="fetch, convert and inspect checkpoints",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True)
    fetch = actions.add_parser("fetch", help="download published weights into the cache")
    fetch.add_argument("name", help="sab3r, mast3r, clip, featup, dinov2; mini is part of the package")
    fetch.add_argument(
        "--revision",
        help="commit, tag or branch of the hub's repository; default: the commit that was fetched first, else the newest. "
        "Renews the lock",
    )
    fetch.add_argument("--accept-licence", action="store_true", help="do not ask")
    convert = actions.add_parser("convert", help="turn a public checkpoint into this package's format")
    convert.add_argument("file", type=Path, help=".pth, .pt or .safetensors of the MASt3R family")
    where = convert.add_mutually_exclusive_group()
    where.add_argument("--name", choices=["sab3r", "mast3r"], help="put it into the cache under this name")
    where.add_argument("--out", type=Path, help="default: beside the file, ending in .sab3r.safetensors")
    inspect = actions.add_parser("inspect", help="sizes, parameters, origin and sha256 of a checkpoint")
    inspect.add_argument("file", help="a path, or mini, sab3r, mast3r")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    {"fetch": fetch, "convert": convert, "inspect": inspect}[args.action](args)


def fetch(args: argparse.Namespace) -> None:
    """Raises CheckpointError if the name is unknown, the licence declined, or the hub out of reach."""
    from sab3r_ros.model.catalog import CATALOG, cached_network, cached_path
    from sab3r_ros.model.feature_model import EMBEDDED
    from sab3r_ros.model.lock import locked
    from sab3r_ros.model.public_checkpoints import convert as convert_public

    if args.name == "mini":
        if not EMBEDDED.is_file():
            raise CheckpointError(
                f"{EMBEDDED} is missing although it is part of the package: install it again"
            )
        say(f"mini is part of the package: {EMBEDDED}")
        return
    if args.name not in CATALOG:
        raise CheckpointError(f"no weights called '{args.name}'; known: mini, {', '.join(CATALOG)}")
    source = CATALOG[args.name]
    if source.network and cached_network(source.name).is_file() and not args.revision:
        say(f"{source.name} is already here: {cached_network(source.name)}")
        return
    say(f"{source.name}: {source.what}\nlicence: {source.licence}")
    for file in source.files:
        fetch_file(source, file, args)
    if source.network:
        checkpoint = cached_path(source.name, source.files[0])
        revision = locked(f"{source.name}/{checkpoint.name}").revision or "unknown"
        convert_public(checkpoint, cached_network(source.name), {"source": source.repo, "revision": revision})
        say(f"converted to {cached_network(source.name)}; {checkpoint} is no longer needed")


def fetch_file(source: Source, file: str, args: argparse.Namespace) -> None:
    """One file of a source into the cache, the same as at its first fetch unless a revision is asked for.

    Raises CheckpointError if it is not, or cannot be had.
    """
    from sab3r_ros.model.catalog import cached_path
    from sab3r_ros.model.download import download, resolve, resolve_address
    from sab3r_ros.model.lock import Locked, hold, lock, locked
    from sab3r_ros.model.weights import file_digest

    target = cached_path(source.name, file)
    key = f"{source.name}/{target.name}"
    known = None if args.revision else locked(key)
    if target.is_file() and not args.revision:
        digest = file_digest(target)
        hold(key, digest, str(target))
        lock(key, known or Locked("", digest))
        say(f"{target} is already here")
        return
    revision = args.revision or (known.revision if known else "") or source.revision
    try:
        remote = (
            resolve_address(source.address, file) if source.address else resolve(source.repo, file, revision)
        )
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. Without a network: get {file} of {source.page} elsewhere, put it at "
            f"{target}, and run this command again"
        ) from error
    say(f"{remote.url}\nsize: {remote.size:,} bytes, sha256: {remote.sha256 or 'not given'}")
    if known and remote.sha256:
        hold(key, remote.sha256, remote.url)
    if not args.accept_licence and not confirmed():
        raise CheckpointError("not downloaded: the licence was not accepted (--accept-licence accepts it)")
    args.accept_licence = True
    digest = download(remote, target, known.sha256 if known else "")
    lock(key, Locked(remote.revision, digest))


def confirmed() -> bool:
    """Ask on a terminal; anywhere else the answer is no."""
    return sys.stdin.isatty() and input("Accept the licence and download? [y/N] ").strip().lower() in (
        "y",
        "yes",
    )


def convert(args: argparse.Namespace) -> None:
    """Raises CheckpointError if the file is missing, unsafe, corrupt or of another network."""
    from sab3r_ros.model.catalog import cached_network
    from sab3r_ros.model.public_checkpoints import convert as convert_public

    out = cached_network(args.name) if args.name else args.out or args.file.with_suffix(".sab3r.safetensors")
    config = convert_public(args.file, out)
    say(f"{out}: {config}")


def inspect(args: argparse.Namespace) -> None:
    """Raises CheckpointError if the file is missing, corrupt or foreign."""
    from sab3r_ros.model.feature_model import checkpoint_path
    from sab3r_ros.model.weights import file_digest, meta_model, read_config, read_metadata

    path = checkpoint_path(args.file)
    config = read_config(path)
    say(f"{path}\nsize: {path.stat().st_size:,} bytes, sha256: {file_digest(path)}")
    say(f"parameters: {meta_model(config).parameter_count:,}\n{config}")
    for key, value in sorted(read_metadata(path).items()):
        if key != "config":
            say(f"{key}: {value}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
