"""Data sets of segmented images, in the folders in which their authors publish them.

A new one: a function from its folder to `SegmentationData`, named in LAYOUTS and tested on a folder that the test makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.depth_data import read_color
from sab3r_ros.evaluation.segmentation import SegmentationData, SegmentationImage

# What VOC calls background, in words: it has none of its own.
VOC_BACKGROUND = (
    "background", "sky", "wall", "floor", "ceiling", "grass", "ground", "road", "water", "tree", "building", "mountain",
    "window", "curtain", "carpet", "field", "snow", "fence",
)  # fmt: skip
VOC_CLASSES = (
    VOC_BACKGROUND, ("aeroplane", "airplane"), ("bicycle",), ("bird",), ("boat",), ("bottle",), ("bus",), ("car",), ("cat",),
    ("chair",), ("cow",), ("dining table", "table"), ("dog",), ("horse",), ("motorbike", "motorcycle"), ("person", "people"),
    ("potted plant",), ("sheep",), ("sofa",), ("train",), ("television", "computer monitor"),
)  # fmt: skip
ADE_CLASSES = 150


def voc_colours() -> np.ndarray:
    """(256, 3) uint8 RGB: the palette of VOC's label images, bit by bit; 255 (void) is the outlines' cream."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel)) & 1).astype(np.uint8) << (7 - bit)
    return colours


def read_voc_labels(path: Path) -> np.ndarray:
    """(H, W) int16: 0 background, 1..20, −1 void. Raises ConfigError."""
    coloured = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if coloured is None:
        raise ConfigError(f"{path} is missing or no image: is the data set complete?")
    code = coloured.astype(np.int32) @ [1 << 16, 1 << 8, 1]
    known = voc_colours()[: len(VOC_CLASSES), ::-1].astype(np.int32) @ [1 << 16, 1 << 8, 1]
    labels = np.full(code.shape, -1, np.int16)
    for k, colour in enumerate(known):
        labels[code == colour] = k
    return labels


def voc(folder: Path) -> SegmentationData:
    """PASCAL VOC 2012: ImageSets/Segmentation/val.txt (1449 images), JPEGImages, SegmentationClass."""
    root = next(
        (
            r
            for r in (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012")
            if (r / "JPEGImages").is_dir()
        ),
        None,
    )
    if root is None or not (root / "ImageSets" / "Segmentation" / "val.txt").is_file():
        raise ConfigError(f"{folder} is no VOC2012: JPEGImages and ImageSets/Segmentation/val.txt")
    names = (root / "ImageSets" / "Segmentation" / "val.txt").read_text().split()

    def load(k: int) -> SegmentationImage:
        image = read_color(root / "JPEGImages" / f"{names[k]}.jpg")
        return SegmentationImage(
            names[k], image, read_voc_labels(root / "SegmentationClass" / f"{names[k]}.png")
        )

    return SegmentationData("PASCAL VOC 2012, validation", VOC_CLASSES, 0, len(names), load)


def read_ade_classes(path: Path) -> tuple[tuple[str, ...], ...]:
    """The words of each of the 150 classes: the last column of objectInfo150.txt, parted by commas or semicolons."""
    try:
        lines = path.read_text().splitlines()[1:]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}. It names the 150 classes") from error
    names = {int(cells[0]): cells[-1] for line in lines if (cells := line.split("\t"))[0].strip().isdigit()}
    if sorted(names) != list(range(1, ADE_CLASSES + 1)):
        raise ConfigError(f"{path} must name the classes 1 to {ADE_CLASSES}, one a line")
    return tuple(
        tuple(word.strip() for word in re.split("[,;]", names[k]) if word.strip()) for k in sorted(names)
    )


def ade20k(folder: Path) -> SegmentationData:
    """ADEChallengeData2016: images/validation, annotations/validation (2000 images), objectInfo150.txt."""
    root = folder / "ADEChallengeData2016" if (folder / "ADEChallengeData2016").is_dir() else folder
    truths = sorted((root / "annotations" / "validation").glob("*.png"))
    if not truths:
        raise ConfigError(f"{folder} is no ADEChallengeData2016: annotations/validation holds no images")

    def load(k: int) -> SegmentationImage:
        labels = cv2.imread(str(truths[k]), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2:
            raise ConfigError(f"{truths[k]} is no image of labels: is the data set complete?")
        image = read_color(root / "images" / "validation" / f"{truths[k].stem}.jpg")
        return SegmentationImage(truths[k].stem, image, labels.astype(np.int16) - 1)

    classes = read_ade_classes(root / "objectInfo150.txt")
    return SegmentationData("ADE20K, 150 classes, validation", classes, None, len(truths), load)


LAYOUTS: dict[str, Callable[[Path], SegmentationData]] = {"voc": voc, "ade20k": ade20k}
