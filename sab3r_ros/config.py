"""The only home of defaults. Every field names its unit and valid range; ROS parameters and commands read them here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from sab3r_ros.errors import ConfigError

T = TypeVar("T")


def option(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field with its description and inclusive range, for `--help`, ROS parameters and checks."""
    return field(default=default, metadata={"text": text, "low": low, "high": high})


class Checked:
    """Checks each numeric field of a dataclass against its stated range. Raises ConfigError naming the field."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            value, low, high = getattr(self, f.name), f.metadata.get("low"), f.metadata.get("high")
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                raise ConfigError(
                    f"{f.name} = {value!r} is out of range [{low}, {high}]: {f.metadata['text']}"
                )


def from_dict(kind: type[T], values: dict[str, Any]) -> T:
    """Build a configuration from a dictionary. An unknown key raises ConfigError with the nearest known key."""
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(f"unknown option '{key}' for {kind.__name__}{hint}")
    return kind(**values)


@dataclass(frozen=True)
class AlignmentConfig(Checked):
    """How matches become poses (mapping/alignment.py)."""

    min_matches: int = option(30, "matches that must agree before two keyframes count as aligned", 6, 100_000)
    min_inliers: float = option(0.2, "share of a pair's matches that must agree", 0.0, 1.0)
    max_matches: int = option(600, "matches of a pair that are used, the surest first", 10, 100_000)
    hypotheses: int = option(300, "three-point similarities tried a pair", 8, 100_000)
    scored_matches: int = option(300, "matches on which each of them is scored", 8, 100_000)
    max_log_scale: float = option(
        0.7, "largest logarithmic scale between two keyframes' pointmaps", 1e-3, 10.0
    )
    ray_sigma_rad: float = option(0.008, "expected error of a matched ray, radians", 1e-5, 1.0)
    log_depth_sigma: float = option(0.12, "expected error of a pointmap's log distance", 1e-3, 10.0)
    scale_prior: float = option(
        0.02, "expected change of a keyframe's log scale from its start, per window", 0.0001, 10.0
    )
    robust_width: float = option(
        3.0, "a match agrees if its residuals are fewer sigmas, and beyond them loses its say", 0.1, 100.0
    )
    refine_steps: int = option(15, "most Gauss-Newton steps", 1, 1000)


@dataclass(frozen=True)
class LoopConfig(Checked):
    """How places are recognised and loops closed (mapping/places.py, mapping/pose_graph.py)."""

    candidates: int = option(3, "places most alike a keyframe that are compared with it", 1, 100)
    min_matches: int = option(50, "matches that must agree before a place counts as recognised", 6, 100_000)
    min_inliers: float = option(0.4, "share of the matches with a place that must agree", 0.0, 1.0)
    min_gap: int = option(
        30, "keyframes after which seeing a place again counts as a loop, not as going on", 2, 1_000_000
    )
    max_discrepancy: float = option(
        5000.0,
        "largest contradiction of a loop to the path travelled, chi-square of 7 degrees of freedom: the embedded network's "
        "right loops reach 800 in rooms of the validation split (nine of ten 200), wrong ones in twin rooms begin at 9600",
        0.0,
    )


@dataclass(frozen=True)
class MapperConfig(Checked):
    """How frames become a map (paper Sec. 4; windows of overlapping keyframes)."""

    window: int = option(4, "keyframes in a window", 2, 16)
    shared: int = option(2, "keyframes that a window shares with the one before", 1, 15)
    keyframe_disparity: float = option(
        0.03, "median image motion that makes a new keyframe, as a fraction of the image width", 0.0, 1.0
    )
    keyframe_interval_s: float = option(
        5.0, "a new keyframe at least so often while the camera moves, seconds", 0.0
    )
    min_texture: float = option(
        3.0, "mean absolute gradient (grey levels a pixel) below which a frame is skipped", 0.0, 255.0
    )
    camera_height_m: float = option(
        0.0, "height of the camera above the floor, metres: makes the map metric; 0 = unknown", 0.0, 100.0
    )
    voxel_size_m: float = option(0.02, "edge of a map voxel, metres", 0.002, 1.0)
    max_map_mb: float = option(
        500.0, "most memory of the voxels, megabytes; beyond it the least seen go", 0.1, 1e6
    )
    min_confidence: float = option(1.1, "pointmap confidence below which a pixel is not mapped", 1.0, 1e6)
    max_depth_step: float = option(
        0.06, "relative depth step to a neighbour beyond which a pixel is an edge, not mapped", 0.001, 10.0
    )
    free_margin: float = option(
        0.2,
        "a voxel that lies nearer than what is seen behind it, by this share of the depth, fades",
        0.01,
        1.0,
    )
    max_range_m: float = option(
        8.0, "points farther than this from their camera are not mapped, metres", 0.1, 1000.0
    )


@dataclass(frozen=True)
class LocateConfig(Checked):
    """How a text query becomes objects."""

    min_score: float = option(0.45, "objects that score less are not returned", 0.0, 1.0)
    max_objects: int = option(10, "most objects in an answer", 1, 1000)
    max_query_length: int = option(1000, "longest query, characters", 1, 100_000)
    temperature: float = option(
        0.05, "of the softmax in which a query competes with other phrases", 0.0001, 10.0
    )
    synonym_cosine: float = option(
        0.6, "other phrases nearer to the query than this do not compete with it", 0.0, 1.0
    )
    cell_m: float = option(0.05, "edge of the cells whose voxels a query looks at as one, metres", 0.01, 10.0)
    min_voxels: int = option(20, "smallest object, voxels", 1, 100_000)
    min_part: float = option(
        0.15, "smallest object near a larger one, as a part of that one's voxels", 0.0, 1.0
    )
    crumb_reach_m: float = option(0.5, "how near to a larger object that counts, metres", 0.0, 100.0)
    top_share: float = option(
        0.5, "share of an object's voxels, best first, that its score is the mean of", 0.0, 1.0
    )


@dataclass(frozen=True)
class NodeConfig(Checked):
    """How the node meets ROS (ros/node.py)."""

    model: str = option(
        "mini",
        "'mini' (embedded), 'sab3r', 'mast3r' or 'mast3r+maskclip' (fetched before), or a checkpoint's path",
    )
    device: str = option("auto", "'auto', 'cpu', 'cuda', 'cuda:1': where the network runs")
    compile: bool = option(
        False,
        "compile the network's blocks when it first runs (torch.compile); takes a minute, needs a compiler",
    )
    compressed: bool = option(
        False, "subscribe to image/compressed (sensor_msgs/CompressedImage) instead of image"
    )
    image_reliability: str = option(
        "best_effort", "QoS of the image subscription: 'best_effort' or 'reliable'"
    )
    rectified: str = option(
        "auto",
        "whether image_proc has undone the lens: 'yes' (camera_info's p holds), 'no' (its d is undone here), or 'auto' "
        "(yes for topics named image_rect…)",
    )
    image_depth: int = option(5, "QoS history depth of the image subscription, messages", 1, 1000)
    queue_length: int = option(
        30, "images that may wait for the mapper; beyond it the oldest is dropped", 1, 10_000
    )
    map_frame: str = option("map", "frame of the map: x forward, y left, z up from the first camera")
    camera_frame: str = option(
        "", "child frame of the TF; empty = the images' frame_id, or 'camera' where that is empty"
    )
    pose_frame: str = option(
        "",
        "frame in which the camera's pose is known from /tf or the topic odometry ('odom'): the map is then metric and "
        "begins as that frame; empty = poses by sight",
    )
    publish_tf: bool = option(
        True, "publish TF map_frame → camera_frame; turn off where another node owns the camera's pose"
    )
    publish_period_s: float = option(
        2.0, "least time between two publications of the whole map, seconds", 0.05, 3600.0
    )
    status_period_s: float = option(1.0, "time between two MapStatus messages, seconds", 0.05, 3600.0)
    flush_after_s: float = option(
        2.0,
        "keyframes that wait for a full window are mapped after so long without an image, seconds",
        0.1,
        3600.0,
    )
    silence_s: float = option(
        4.0, "time without an image after which the log says what is waited for, seconds", 0.5, 3600.0
    )
    map_path: str = option(
        "", "map file that is loaded at start if it exists, and written at exit; empty = none"
    )


@dataclass(frozen=True)
class DistillConfig(Checked):
    """How the network learns (paper Sec. 5.1; the loss weights are Eq. 6's)."""

    part: str = option(
        "views", "what learns: 'views', all that a view says alone, or 'pairs', the stage where two compare"
    )
    batch_pairs: int = option(8, "view pairs that a process looks at at once", 1, 1024)
    accumulate: int = option(1, "so many of these batches make a step", 1, 1024)
    steps: int = option(20_000, "optimiser steps in all", 1)
    learning_rate: float = option(7e-4, "AdamW's, after warm-up", 0.0, 1.0)
    stem_rate: float = option(
        0.3, "learning rate of the pretrained stem, as a fraction of the rest's", 0.0, 1.0
    )
    frozen_layers: int = option(
        4, "layers of the stem (a convolution and seven stages), the first ones, that do not learn", 0, 8
    )
    warmup_steps: int = option(300, "steps of linear warm-up", 0)
    decay_share: float = option(
        0.5, "share of the steps, at the end, over which the rate falls to a hundredth", 0.0, 1.0
    )
    weight_decay: float = option(0.02, "AdamW's", 0.0, 1.0)
    gradient_clip: float = option(1.0, "largest norm of the gradient", 1e-6)
    ema: float = option(0.998, "decay of the averaged weights that are validated and kept", 0.0, 1.0)
    matches: int = option(320, "correspondences a pair", 1)
    negatives: int = option(
        2048, "random pixels of view 2 that each match competes with, besides the others", 0
    )
    language_pixels: int = option(4096, "labelled pixels a step for the language head", 1)
    vocabulary_sample: int = option(768, "captions that a pixel is compared with in a step", 2)
    min_overlap: float = option(0.15, "least share of view 1 that view 2 sees", 0.0, 1.0)
    max_overlap: float = option(0.95, "greatest share of view 1 that view 2 sees", 0.0, 1.0)
    confidence_alpha: float = option(0.2, "pull of the confidence's logarithm", 0.0)
    point_weight: float = option(2.0, "weight of the pointmap loss", 0.0)
    gradient_weight: float = option(1.0, "weight of the depth gradient loss", 0.0)
    focal_weight: float = option(0.5, "weight of the focal length's logarithmic error", 0.0)
    match_weight: float = option(0.15, "weight of the matching loss (beta)", 0.0)
    language_weight: float = option(0.5, "weight of the language loss (gamma)", 0.0)
    match_temperature: float = option(0.05, "InfoNCE's temperature", 1e-4)
    language_temperature: float = option(0.05, "temperature of the softmax over captions", 1e-4)
    least_spread: float = option(
        0.02, "a run stops when a head's outputs vary less than this over a batch; 0 = never", 0.0, 1.0
    )
    validate_every: int = option(1000, "steps between validations", 1)
    save_every_s: float = option(300.0, "seconds between resumable checkpoints", 1.0)
    seed: int = option(0, "of initialisation, sampling and augmentation", 0)


@dataclass(frozen=True)
class MapAndLocateConfig(Checked):
    """Which views the Map and Locate benchmark takes and how finely it looks (evaluation/groups.py, map_and_locate.py)."""

    sets: int = option(2, "groups of each size a scene", 1, 100)
    seed: int = option(0, "of the draw of groups and of the alignment", 0)
    min_overlap: float = option(0.3, "two views of a group are linked from this mutual share on", 0.0, 1.0)
    max_overlap: float = option(0.8, "and are too alike above this one", 0.0, 1.0)
    shared_labels: int = option(2, "least labels that two views of a group see", 0, 40)
    points_per_view: int = option(
        12_500, "most pixels of a view, on a regular grid, that are points of truth or prediction", 100
    )
