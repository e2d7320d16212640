"""What a run is measured on: rooms, ScanNet, folders of labelled RGB-D frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.rgbd_folder import folder_scene, read_format
from sab3r_ros.evaluation.scannet import DEFAULT_SCENES, scannet_scenes
from sab3r_ros.evaluation.scenes import ROOM_SIZE, ROOM_VIEWS, Scene, room_scenes
from sab3r_ros.rooms.library import load_library

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSet:
    """name: of its table. made_from: what else its scenes' content depends on. about: for people. Scenes share their classes."""

    name: str
    scenes: list[Scene]
    made_from: str
    about: str

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scenes[0].classes


def data_sets(
    rooms: int,
    procedural: bool,
    scannet: Path | None,
    label_map: Path | None,
    scene_list: Path | None,
    rgbd: Sequence[Path],
    labels: Path | None,
) -> list[DataSet]:
    """Raises ConfigError if there is none, or one cannot be read."""
    sets = []
    if rooms > 0:
        sets.append(rooms_data_set(rooms, procedural))
    if scannet:
        names = scene_names(scene_list) if scene_list else DEFAULT_SCENES
        table = label_map or scannet.parent / "scannetv2-labels.combined.tsv"
        about = f"{len(names)} scenes of {scannet}, NYU40 labels"
        sets.append(DataSet("scannet", scannet_scenes(scannet, table, names), str(scannet.resolve()), about))
    if rgbd:
        form = read_format(labels or rgbd[0] / "labels.yaml")
        about = f"{', '.join(folder.name for folder in rgbd)}: {', '.join(form.classes.values())}"
        if len({folder.name for folder in rgbd}) < len(rgbd):
            raise ConfigError("two --rgbd folders have the same name, which names a scene: rename one")
        made_from = f"{form} {[str(folder.resolve()) for folder in rgbd]}"
        sets.append(DataSet("rgbd", [folder_scene(folder, form) for folder in rgbd], made_from, about))
    if not sets:
        raise ConfigError("nothing to measure on: take --rooms, --scannet or --rgbd")
    return sets


def scene_names(path: Path) -> tuple[str, ...]:
    """Raises ConfigError if the list cannot be read or is empty."""
    try:
        names = tuple(path.read_text().split())
    except OSError as error:
        raise ConfigError(f"cannot read the list of scenes {path}: {error}") from error
    if not names:
        raise ConfigError(f"{path} lists no scenes: write one name a line, like scene0011_00")
    return names


def rooms_data_set(rooms: int, procedural: bool) -> DataSet:
    """Rooms of the test split; with procedural furniture alone where no library can be had."""
    library = []
    if not procedural:
        try:
            library = load_library()
        except ConfigError as error:
            log.warning("rooms get procedural furniture alone, whose figures are others: %s", error)
    furniture = (
        f"{len(library)} furniture models and procedural things" if library else "procedural furniture"
    )
    about = f"{rooms} rooms of the test split, {ROOM_VIEWS} views of {ROOM_SIZE[0]} × {ROOM_SIZE[1]} each, {furniture}"
    return DataSet("rooms", room_scenes(rooms, library), furniture, about)
