"""`make demo`: a real clip through camera, mapper and client over DDS; a report, clouds and a picture in build/demo.

python -m sab3r_ros.ros.demo [--model mini] [--out build/demo] [--clip FOLDER] [--view]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sab3r_ros.ros.demo.report import QUERIES, write_report

ROOT = Path(__file__).resolve().parents[3]
CLIP = ROOT / "test" / "data" / "tum_fr2desk20"
PROFILE = ROOT / "config" / "fastdds_large_data.xml"
# A ROS domain for each run: the demo neither sees nor disturbs a robot on the network, nor another demo on this machine.
DOMAIN = os.environ.get("SAB3R_DEMO_DOMAIN", str(1 + os.getpid() % 100))


def start(module: str, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {
        "ROS_DOMAIN_ID": DOMAIN,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env=environment, start_new_session=True
    )


def peak_rss_mb(process: subprocess.Popen) -> float:
    """Largest resident memory of a running process so far, MiB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def stop(process: subprocess.Popen) -> None:
    """End a process as Ctrl-C would; insist after 20 s."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def failed(what: str, view: list[subprocess.Popen]) -> int:
    """Say so, close the window, and return the exit status."""
    print(f"{what}; its log above says why", file=sys.stderr)
    for window in view:
        stop(window)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "demo")
    parser.add_argument(
        "--clip", type=Path, default=CLIP, help="folder with rgb/STAMP.jpg and groundtruth.txt"
    )
    parser.add_argument("--view", action="store_true", help="open a window that shows the map grow")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print(
        f"mapping {args.clip.name}: camera, mapper and client are separate processes over DDS (ROS_DOMAIN_ID={DOMAIN}) …",
        flush=True,
    )
    begin = time.monotonic()
    mapper = start("sab3r_ros.ros.node", "--ros-args", "-p", f"model:={args.model}")
    camera = start("sab3r_ros.ros.demo.camera", str(args.clip / "rgb"))
    client = start("sab3r_ros.ros.demo.client", str(args.out), *QUERIES)
    view = [start("sab3r_ros.ros.demo.view")] if args.view else []
    try:
        while client.poll() is None:
            if mapper.poll() is not None:
                return failed("the mapper ended early", view)
            time.sleep(0.2)
        memory = peak_rss_mb(mapper)
    finally:
        for process in (client, camera, mapper):
            stop(process)
    if client.returncode:
        return failed("the client failed", view)
    report = write_report(args.out, args.clip, memory)
    print(
        f"\n{time.monotonic() - begin:.0f} s. Written to {args.out}: {', '.join(sorted(p.name for p in args.out.iterdir()))}"
    )
    if not args.view and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        print("make demo VIEW=1 opens a window that shows the map grow")
    if not report["keyframes"]:
        print("No map came of it: no two keyframes matched. The model cannot do this clip.", file=sys.stderr)
    for window in view:
        print("close the window to end", flush=True)
        window.wait()
    return 0 if report["keyframes"] else 1


if __name__ == "__main__":
    sys.exit(main())
