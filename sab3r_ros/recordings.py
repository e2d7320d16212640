"""Where frames come from without a robot: folders of images, videos, ROS bags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.errors import ImageError
from sab3r_ros.geometry.lens import Lens, lens_of
from sab3r_ros.types import Frame

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"}
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
# encoding → channels and conversion to RGB, None where it is RGB already
ENCODINGS = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


@dataclass(frozen=True)
class Recording:
    """Frames in order, read one at a time. length: how many, 0 if unknown. what: for people."""

    frames: Callable[[], Iterator[Frame]]
    length: int
    what: str


def open_recording(
    path: str | Path, rate_hz: float = 10.0, lens: Lens | None = None, topic: str | None = None
) -> Recording:
    """A folder of images, one image's folder mates by pattern, a video, or a bag (.bag, .mcap, .db3 or its folder).

    rate_hz: of images whose names are no time stamps. lens: of the camera, undone in the frames; a bag's own CameraInfo
    is used if None. topic: the bag's; default its only image topic. Raises ImageError, from `frames` too.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"there is nothing at {path}: give a folder of images, a video or a ROS bag")
    if path.suffix in (".bag", ".mcap", ".db3") or (path / "metadata.yaml").is_file():
        return open_bag(path, lens, topic)
    if path.is_dir():
        return open_folder(path, rate_hz, lens)
    return open_video(path, lens)


def open_folder(folder: Path, rate_hz: float, lens: Lens | None) -> Recording:
    """Images by name, numbers in natural order. Names that are times (1311868164.36.png) give the stamps."""
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)
    if not files:
        raise ImageError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    times = [float(f.stem) if re.fullmatch(r"\d+\.\d+", f.stem) else None for f in files]
    named = all(t is not None for t in times)

    def frames() -> Iterator[Frame]:
        for k, (file, time) in enumerate(zip(files, times, strict=True)):
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is None:
                raise ImageError(f"{file} cannot be read as an image: remove or replace it")
            yield frame_of(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), time if named else k / rate_hz, lens)

    return Recording(frames, len(files), f"{len(files)} images of {folder}")


def frame_of(image: np.ndarray, stamp: float, lens: Lens | None) -> Frame:
    """Raises ImageError where the lens is not this camera's."""
    image, K = lens.straightened(image) if lens else (image, None)
    return Frame(image, stamp, K)


def natural_key(file: Path) -> list[str | float]:
    """'view9' before 'view10'; text and numbers alternate, so that keys can be compared."""
    return [float(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+(?:\.\d+)?)", file.stem))]


def open_video(file: Path, lens: Lens | None) -> Recording:
    """Any video that OpenCV reads; stamps are its own."""
    video = cv2.VideoCapture(str(file))
    opened, count, rate = (
        video.isOpened(),
        int(video.get(cv2.CAP_PROP_FRAME_COUNT)),
        video.get(cv2.CAP_PROP_FPS),
    )
    video.release()
    if not opened or count == 0:
        raise ImageError(f"{file} is no video that can be read, nor a folder of images, nor a bag")

    def frames() -> Iterator[Frame]:
        reader, k = cv2.VideoCapture(str(file)), 0
        try:
            while True:
                got, image = reader.read()
                if not got:
                    return
                yield frame_of(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), k / (rate or 30.0), lens)
                k += 1
        finally:
            reader.release()

    return Recording(frames, max(count, 0), f"video {file}")


def open_bag(path: Path, lens: Lens | None, topic: str | None) -> Recording:
    """ROS 1 and ROS 2 bags (sqlite3, mcap), without ROS. Raises ImageError; ImportError names rosbags."""
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.typesys import Stores, get_typestore
    except ModuleNotFoundError as error:
        raise ImportError("reading bags needs rosbags: pip install rosbags") from error
    store = get_typestore(Stores.ROS2_HUMBLE)
    # A ROS 2 bag is a folder; its parts alone lack the description that lists them.
    folder = (
        path.parent
        if path.suffix in (".db3", ".mcap") and (path.parent / "metadata.yaml").is_file()
        else path
    )
    try:
        with AnyReader([folder], default_typestore=store) as reader:
            counts = {t: info.msgcount for t, info in reader.topics.items() if info.msgtype in IMAGE_TYPES}
    except (AnyReaderError, OSError) as error:
        raise ImageError(f"{path} is no bag that can be read: {error}") from error
    topic = chosen_topic(counts, topic, path)
    info_topic = topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"

    def frames() -> Iterator[Frame]:
        known = lens
        with AnyReader([folder], default_typestore=store) as reader:
            wanted = [c for c in reader.connections if c.topic in (topic, info_topic)]
            for connection, _, raw in reader.messages(wanted):
                message = reader.deserialize(raw, connection.msgtype)
                if connection.topic == topic:
                    stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
                    yield frame_of(rgb_of_message(message), stamp, known)
                elif lens is None:
                    known = lens_of(message, rectified="image_rect" in topic)

    return Recording(frames, counts[topic], f"{counts[topic]} images of {topic} in {path}")


def chosen_topic(counts: dict[str, int], topic: str | None, path: Path) -> str:
    """The topic asked for, or the only one. Raises ImageError that lists what the bag has."""
    there = ", ".join(f"{name} ({count})" for name, count in counts.items())
    if not counts:
        raise ImageError(f"{path} holds no image topic (sensor_msgs Image or CompressedImage)")
    if topic is None and len(counts) > 1:
        raise ImageError(f"{path} holds several image topics; choose one with --topic: {there}")
    if topic is not None and topic not in counts:
        raise ImageError(f"{path} has no image topic {topic}; it has {there}")
    return topic or next(iter(counts))


def rgb_of_message(message) -> np.ndarray:
    """A deserialised Image or CompressedImage → (H, W, 3) uint8 RGB. Raises ImageError."""
    data = np.frombuffer(message.data, np.uint8)
    if hasattr(message, "format"):
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if image is None:
            raise ImageError(f"a compressed image of {len(data)} bytes ({message.format}) cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if message.encoding not in ENCODINGS:
        raise ImageError(
            f"images of encoding '{message.encoding}' cannot be mapped; {', '.join(ENCODINGS)} can"
        )
    channels, to_rgb = ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    if min(height, width) == 0 or step < width * channels or len(data) < height * step:
        raise ImageError(
            f"an image of {width} × {height} {message.encoding} carries {len(data)} bytes: truncated"
        )
    pixels = (
        data[: height * step].reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    )
    return pixels.copy() if to_rgb is None else cv2.cvtColor(np.ascontiguousarray(pixels), to_rgb)
