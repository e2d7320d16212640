"""`sab3r map`: a folder of images, a video or a bag becomes a map file."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from pathlib import Path

from sab3r_ros.config import MapperConfig, from_dict
from sab3r_ros.errors import ConfigError, ImageError

EXAMPLES = """examples:
  sab3r map photos/ --out room.sab3r
  sab3r map walk.mp4 --out room.sab3r --every 3
  sab3r map photos/ --out room.sab3r --camera calibration.yaml
  sab3r map recording.mcap --topic /camera/image_raw --out room.sab3r
  sab3r map more/ --onto room.sab3r --out room.sab3r          go on in a map that knows the place

Ctrl-C saves what is mapped so far."""
INTERRUPTED = 130  # exit status

log = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "map",
        help="make a map of images, a video or a ROS bag",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="folder of images, video file, or ROS bag (.bag, .mcap, .db3, folder)")
    parser.add_argument("--out", type=Path, required=True, metavar="MAP", help="the map to write, room.sab3r")
    parser.add_argument(
        "--onto", type=Path, metavar="MAP", help="a map of the same place and model to go on in"
    )
    parser.add_argument(
        "--model", default="mini", help="mini, sab3r, mast3r, mast3r+maskclip, or a checkpoint; default mini"
    )
    parser.add_argument("--device", help="cpu, cuda, …; default: cuda if there is one")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the network first; pays on long recordings"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="look at each N-th frame; default 1"
    )
    parser.add_argument(
        "--rate", type=float, default=10.0, metavar="HZ", help="of images without stamps; default 10"
    )
    parser.add_argument("--topic", help="image topic of the bag; default: its only one")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument(
        "--camera",
        type=Path,
        metavar="YAML",
        help="calibration as ROS's camera_calibration writes it; the lens is undone",
    )
    camera.add_argument(
        "--intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="pixels; default: estimated",
    )
    parser.add_argument("--config", type=Path, metavar="YAML", help="MapperConfig's fields")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one of its fields")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises ImageError, ConfigError, CheckpointError and MapFileError."""
    from tqdm import tqdm

    from sab3r_ros.geometry.lens import Lens, read_lens
    from sab3r_ros.mapping.map_file import load_map, save_map
    from sab3r_ros.mapping.mapper import IncrementalMapper
    from sab3r_ros.model.feature_model import load_model
    from sab3r_ros.recordings import open_recording

    if args.every < 1 or args.rate <= 0:
        raise ConfigError("--every must be at least 1 and --rate more than 0")
    config = mapper_config(args.config, args.set)
    check_place(args.out)
    lens = None
    if args.camera:
        lens = read_lens(args.camera)
    elif args.intrinsics:
        fx, fy, cx, cy = args.intrinsics
        lens = Lens((fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0))
    recording = open_recording(args.source, args.rate, lens, args.topic)
    model = load_model(args.model, args.device, args.compile)
    mapper = IncrementalMapper(model, config)
    if args.onto:
        saved = load_map(args.onto, for_model=model.identity)
        mapper.restore(saved.snapshot, saved.state)

    interrupted, reasons = False, Counter()
    with tqdm(total=recording.length or None, unit="frame", desc="mapping", disable=None) as bar:
        try:
            for k, frame in enumerate(recording.frames()):
                bar.update()
                if k % args.every == 0:
                    result = mapper.add_frame(frame)
                    if not result.accepted:
                        reasons[result.reason] += 1
                    status = mapper.status()
                    bar.set_postfix_str(
                        f"{status.keyframes} keyframes, {status.voxels} voxels, {status.state.value}"
                    )
            mapper.flush()
        except KeyboardInterrupt:
            interrupted = True
    snapshot = mapper.snapshot()
    if interrupted:
        sys.stderr.write("sab3r: interrupted; saving what is mapped so far\n")
    if len(snapshot.points) == 0:
        why = "".join(f"; {count} frames skipped: {reason}" for reason, count in reasons.most_common(3))
        raise ImageError(
            f"nothing was mapped of {recording.what}{why or '; too few frames with enough motion'}"
        )
    save_map(args.out, snapshot, model.identity, model.language, model.feature_basis, mapper.state())
    count = len(snapshot.trajectory.stamps)
    sys.stdout.write(
        f"{args.out}: {count} keyframes, {len(snapshot.points):,} voxels, model {model.identity}\n"
    )
    return INTERRUPTED if interrupted else 0


def mapper_config(file: Path | None, pairs: list[str]) -> MapperConfig:
    """The YAML's fields, then those of the command line. Raises ConfigError."""
    import yaml

    try:
        values = (yaml.safe_load(file.read_text()) or {}) if file else {}
        values |= {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the configuration: {error}") from error
    return from_dict(MapperConfig, values)


def check_place(out: Path) -> None:
    """Minutes of mapping are not to end in a typing error. Raises ConfigError."""
    if not out.parent.is_dir():
        raise ConfigError(f"cannot write {out}: {out.parent} is not a folder; create it or save elsewhere")
    if out.is_dir():
        raise ConfigError(f"cannot write {out}: it is a folder; name a file, {out / 'room.sab3r'}")
