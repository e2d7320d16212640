"""`sab3r`: map a room, ask what is in it, export it, without ROS."""

from __future__ import annotations

import argparse
import importlib
import logging
import pkgutil
import sys
from collections.abc import Sequence

from sab3r_ros import __version__, commands
from sab3r_ros.commands import bench
from sab3r_ros.errors import Sab3rError

EXAMPLES = """examples:
  sab3r map photos/ --out room.sab3r             a folder of images, a video, or a ROS bag
  sab3r locate room.sab3r "a black office chair"
  sab3r export room.sab3r map.ply map.png --query "a mug"

`sab3r COMMAND --help` shows each command's options and examples."""
INTERRUPTED = 130  # exit status of a program that Ctrl-C ended


def parser() -> argparse.ArgumentParser:
    """The whole command line: each module of sab3r_ros.commands adds its own command."""
    top = argparse.ArgumentParser(
        prog="sab3r",
        description="Open-vocabulary 3D maps from one camera.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"sab3r_ros {__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="also say what is going on inside")
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in sorted(m.name for m in pkgutil.iter_modules(commands.__path__)):
        if not module.startswith(bench.PREFIX):  # those are `bench`'s own subcommands
            importlib.import_module(f"sab3r_ros.commands.{module}").add_parser(sub)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit status: 0 done, 1 nothing found, 2 cannot be done (one line says why)."""
    args = parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING,
        format="sab3r: %(message)s",
        stream=sys.stderr,
    )
    try:
        return int(args.run(args) or 0)
    except (Sab3rError, ImportError) as error:
        sys.stderr.write(f"sab3r: {error}\n")
        return 2
    except BrokenPipeError:  # the reader of a pipe (head, less) has left
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("sab3r: interrupted\n")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
