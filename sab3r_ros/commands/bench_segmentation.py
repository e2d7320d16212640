"""`sab3r bench segmentation`: mIoU of images segmented by class names alone, on VOC and ADE20K."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sab3r_ros.commands.bench import add_network_options

EXAMPLES = """examples:
  sab3r bench segmentation voc data/VOCdevkit
  sab3r bench segmentation ade20k data/ADEChallengeData2016 --model sab3r"""
PUBLISHED = {  # the paper's table, mIoU in per cent
    "voc": {"SAB3R (C)": 55.4, "SAB3R (CD)": 56.4, "FeatUp (MaskCLIP)": 51.2, "SAM-CLIP": 60.6},
    "ade20k": {"SAB3R (C)": 18.3, "SAB3R (CD)": 19.0, "FeatUp (MaskCLIP)": 14.3, "SAM-CLIP": 17.1},
}


def add_parser(benches: argparse._SubParsersAction) -> None:
    parser = benches.add_parser(
        "segmentation",
        help="segmentation by class names: VOC, ADE20K",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("layout", choices=["voc", "ade20k"], help="the data set's layout")
    parser.add_argument("folder", type=Path, help="where the data set lies")
    add_network_options(parser, "build/bench-segmentation")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Raises ConfigError and CheckpointError."""
    import numpy as np
    from tqdm import tqdm

    from sab3r_ros.evaluation.depth_data import chosen
    from sab3r_ros.evaluation.metrics import segmentation_score
    from sab3r_ros.evaluation.record import Record
    from sab3r_ros.evaluation.segmentation import Tally, WordSegmenter
    from sab3r_ros.evaluation.segmentation_data import LAYOUTS
    from sab3r_ros.model.feature_model import load_model
    from sab3r_ros.querying.text import load_text_encoder

    data = LAYOUTS[args.layout](args.folder)
    model = load_model(args.model, args.device)
    segmenter = WordSegmenter(
        model, load_text_encoder(model.language) if model.language else None, data.classes
    )
    tally, picked = Tally.empty(data), chosen(data.length, args.limit)
    for k in tqdm(picked, desc=f"segmentation, {args.layout}", unit="image", disable=None):
        tally.add(segmenter, data.load(k))

    readings = {"all classes": tally.all_classes}
    if data.background is not None:
        readings = {"background not judged": tally.things, "background by words": tally.all_classes}
    rows: dict[str, dict[str, float | int | str]] = {}
    for reading, counts in readings.items():
        score, truth = segmentation_score(counts), counts.sum(1)
        present = int((truth > 0).sum())
        common = {"classes in the truth": present, "images": len(picked)}
        rows[f"{model.identity}, {reading}"] = {
            "mIoU %": 100 * score.miou,
            "pixel accuracy %": 100 * score.accuracy,
            "class accuracy %": 100 * score.class_accuracy,
            **common,
        }
        most = float(truth.max() / max(truth.sum(), 1))
        rows[f"the commonest class everywhere, {reading}"] = {
            "mIoU %": 100 * most / max(present, 1),
            "pixel accuracy %": 100 * most,
            "class accuracy %": 100 / max(present, 1),
            **common,
        }
    for name, miou in PUBLISHED[args.layout].items():
        rows[f"{name}, quoted from the paper"] = {"mIoU %": miou}
    iou = segmentation_score(tally.all_classes).iou
    items = {
        words[0]: {"iou": float(iou[k]), "pixels": int(tally.all_classes[k].sum())}
        for k, words in enumerate(data.classes)
        if np.isfinite(iou[k])
    }
    record = Record(
        f"Segmentation by words: {data.about}",
        f"A pixel takes the class whose words are nearest in the space {model.language}; mean over the classes that the "
        "truth has.",
        {
            "model": model.identity,
            "layout": args.layout,
            "folder": args.folder.name,
            "limit": args.limit,
            "classes": data.classes,
        },
        rows,
        items,
    )
    record.write(args.out, args.layout)
    sys.stdout.write(record.text())
