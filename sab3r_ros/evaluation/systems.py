"""The rows of the table: every system that can be had, behind the same seam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sab3r_ros.errors import CheckpointError, ConfigError
from sab3r_ros.evaluation.bounds import Chance, Oracle
from sab3r_ros.evaluation.scenes import LabelledView
from sab3r_ros.evaluation.voc import DeepLabCaptions
from sab3r_ros.model.feature_model import TWO_MODELS, FeatureModel, load_model
from sab3r_ros.model.two_models import TwoModelPipeline
from sab3r_ros.model.weights import file_digest
from sab3r_ros.querying.text import TextEncoder, load_text_encoder

DEEPLAB, ORACLE, CHANCE = "mini+deeplab", "oracle", "chance"
BOUNDS = {ORACLE: Oracle, CHANCE: Chance}
# Row → what to load. The authors publish one SAB3R checkpoint, which has both heads.
ROWS = {
    "SAB3R (C)": "",
    "SAB3R (CD)": "sab3r",
    "MASt3R + FeatUp MaskCLIP": TWO_MODELS,
    "mini": "mini",
    "mini + DeepLab": DEEPLAB,
    "Oracle": ORACLE,
    "Chance": CHANCE,
}


@dataclass(frozen=True)
class Published:
    """A row quoted from the paper's Table 3 (ScanNet). figures: per 2, 3, 4 views mIoU, Acc, mComp, mdComp, or None."""

    name: str
    parameters: str
    flops: str
    figures: tuple[tuple[float, float, float, float] | None, ...]


PUBLISHED = (
    Published(
        "MASt3R + FeatUp MaskCLIP", "838 M", "248 G",
        ((4.57, 18.10, 0.64, 0.67), (6.03, 21.26, 0.68, 0.71), (5.12, 19.31, 0.68, 0.70)),
    ),
    Published("LSM", "1 B", "> 592 G", ((21.40, 42.34, 0.72, 0.80), None, None)),
    Published(
        "SAB3R (C)", "729 M", "218 G",
        ((17.26, 41.11, 0.73, 0.75), (22.83, 53.19, 0.78, 0.81), (19.92, 48.07, 0.77, 0.80)),
    ),
    Published(
        "SAB3R (CD)", "729 M", "218 G",
        ((17.50, 42.72, 0.73, 0.76), (22.94, 52.86, 0.77, 0.80), (20.31, 46.26, 0.75, 0.78)),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """name: of the row. identity: of its weights. model: for a group's views; networks ignore them. text: its language."""

    name: str
    identity: str
    model: Callable[[Sequence[LabelledView], Sequence[str]], FeatureModel]
    text: TextEncoder


def network_system(name: str, model: FeatureModel, text: TextEncoder | None = None) -> System:
    return System(
        name, model.identity, lambda views, classes: model, text or load_text_encoder(model.language)
    )


def load_systems(rows: dict[str, str], deeplab: Path | None) -> tuple[list[System], dict[str, str]]:
    """Systems that are here, and for the others the reason why not, to be said in their row.

    rows: name → "mini", "sab3r", "mast3r+maskclip", "mini+deeplab", "oracle", "chance", or a checkpoint's path.
    deeplab: TFLite file of the separate 2D model.
    """
    found, missing = [], {}
    for name, what in rows.items():
        try:
            found.append(load_system(name, what, deeplab))
        except (CheckpointError, ConfigError, ImportError) as error:
            missing[name] = str(error)
    return found, missing


def load_system(name: str, what: str, deeplab: Path | None) -> System:
    """Raises CheckpointError, ConfigError or ImportError, saying what to do, if it cannot be had."""
    if not what:
        raise CheckpointError(f"its weights are not published: give a checkpoint by `--row '{name}=FILE'`")
    if what in BOUNDS:
        text = load_text_encoder("minilm-l6-v2")
        return System(name, what, lambda views, classes: BOUNDS[what](what, views, classes, text), text)
    if what == DEEPLAB:
        if deeplab is None:
            raise CheckpointError("give a DeepLab VOC TFLite file by `--deeplab FILE`")
        geometry = load_model("mini")
        text = load_text_encoder(geometry.language)
        semantics = DeepLabCaptions(deeplab, text)
        label = f"deeplab-{file_digest(deeplab)[:8]}"
        return network_system(name, TwoModelPipeline(geometry, semantics, text.dim, label, text.space), text)
    model = load_model(what)
    if not model.language:
        raise CheckpointError(f"{what} has no language head: it can map, but not locate")
    return network_system(name, model)
