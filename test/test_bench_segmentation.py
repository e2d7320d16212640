"""`sab3r bench segmentation`: figures against scikit-learn, loaders on small folders of the published layouts."""

import json

import cv2
import numpy as np
import pytest
from bench_models import Numbers, PaintedModel, painted
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, jaccard_score

from sab3r_ros.cli import main
from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.metrics import confusion, segmentation_score
from sab3r_ros.evaluation.segmentation import SegmentationData, SegmentationImage, Tally, WordSegmenter
from sab3r_ros.evaluation.segmentation_data import LAYOUTS, VOC_CLASSES, read_ade_classes, voc_colours

CLASSES = tuple((str(k),) for k in range(5))


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(-1, 6, 400), rng.integers(0, 6, 400)
    counts = confusion(truth, guess, 6)
    known = truth >= 0
    assert np.array_equal(counts[:, :6], confusion_matrix(truth[known], guess[known], labels=range(6)))
    score = segmentation_score(counts)
    assert np.allclose(score.iou, jaccard_score(truth[known], guess[known], average=None))
    assert score.miou == pytest.approx(jaccard_score(truth[known], guess[known], average="macro"))
    assert score.class_accuracy == pytest.approx(balanced_accuracy_score(truth[known], guess[known]))


def sample(labels, image=None):
    return SegmentationImage("a", painted(np.maximum(labels, 0)) if image is None else image, labels)


def tally(labels, image=None, background=None, classes=CLASSES, model=None):
    data = SegmentationData("", classes, background, 1, lambda _: sample(labels, image))
    counts = Tally.empty(data)
    counts.add(WordSegmenter(model or PaintedModel(5), Numbers(5), classes), data.load(0))
    return counts


def labels_of(seed, classes=5, size=(64, 96)):
    return np.random.default_rng(seed).integers(0, classes, size).astype(np.int16)


def test_a_true_network_scores_one_and_a_shuffled_one_chance():
    labels = labels_of(0)
    score = segmentation_score(tally(labels).all_classes)
    assert (score.miou, score.accuracy) == (1, 1)
    score = segmentation_score(tally(labels, painted(labels_of(1))).all_classes)
    assert score.accuracy == pytest.approx(1 / 5, abs=0.02)
    assert score.miou == pytest.approx(1 / 9, abs=0.01)  # 1/25 of the pixels agree, of 9/25 in either


def test_void_is_not_judged_and_a_cropped_border_is():
    """100 × 70 pixels: the network sees the inner 96 × 64, the border takes what is nearest."""
    labels = np.repeat(np.arange(5, dtype=np.int16), 20)[None].repeat(70, 0)
    image = painted(labels)
    labels[30:40] = -1
    counts = tally(labels, image).all_classes
    assert counts.sum() == 60 * 100
    assert segmentation_score(counts).miou == 1


def test_coarse_features_are_interpolated():
    labels = np.repeat(np.arange(4, dtype=np.int16), 16)[None].repeat(32, 0)
    counts = tally(labels, model=PaintedModel(5, stride=4)).all_classes
    assert np.diag(counts).sum() >= counts.sum() - 3 * 2 * 32  # at most two columns at each of three edges


def test_background_in_two_readings():
    """Truth: half background (0), half thing 1; the network takes all for 1."""
    labels = np.zeros((32, 64), np.int16)
    labels[:, 32:] = 1
    counts = tally(labels, painted(np.ones_like(labels)), background=0)
    assert segmentation_score(counts.things).miou == 1
    assert segmentation_score(counts.all_classes).miou == pytest.approx((0 + 0.5) / 2)


def test_a_class_of_several_words_counts_by_its_best():
    classes = (("0", "4"), ("1",), ("something", "2"))
    labels = labels_of(3, 3)
    image = painted(np.choose(labels, [4, 1, 2]))
    assert segmentation_score(tally(labels, image, classes=classes).all_classes).miou == 1


def test_a_model_without_language_is_refused():
    model = PaintedModel()
    model.language = ""
    with pytest.raises(ConfigError, match="no language head"):
        WordSegmenter(model, Numbers(), CLASSES)


def test_vocs_palette_by_hand():
    colours = voc_colours()
    assert colours[[0, 1, 2, 9, 15, 20, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]


def write_voc(root, labels):
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    cv2.imwrite(str(root / "JPEGImages" / "2007_000033.jpg"), np.full((*labels.shape, 3), 99, np.uint8))
    cv2.imwrite(str(root / "SegmentationClass" / "2007_000033.png"), voc_colours()[labels][..., ::-1])
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000033\n")


@pytest.mark.parametrize("top", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc(tmp_path, top):
    labels = np.array([[0, 1, 20], [255, 9, 15]]).repeat(100, 0).repeat(100, 1)
    write_voc(tmp_path / top, labels)
    data = LAYOUTS["voc"](tmp_path)
    read = data.load(0)
    assert (data.length, data.background, len(data.classes)) == (1, 0, 21) and read.name == "2007_000033"
    assert np.array_equal(read.labels, np.where(labels == 255, -1, labels)) and read.image.shape == (
        200,
        300,
        3,
    )
    assert VOC_CLASSES[9] == ("chair",) and VOC_CLASSES[18] == ("sofa",)


def write_ade(root):
    for name in ("images/validation", "annotations/validation"):
        (root / name).mkdir(parents=True)
    rows = [f"{k}\t0.1\t10\t1\tname{k}, other name{k}" for k in range(1, 151)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    cv2.imwrite(str(root / "images/validation/ADE_val_00000001.jpg"), np.full((64, 96, 3), 9, np.uint8))
    labels = np.zeros((64, 96), np.uint8)
    labels[:, 10:], labels[:, 50:] = 1, 150
    cv2.imwrite(str(root / "annotations/validation/ADE_val_00000001.png"), labels)


def test_ade20k(tmp_path):
    write_ade(tmp_path / "ADEChallengeData2016")
    data = LAYOUTS["ade20k"](tmp_path)
    labels = data.load(0).labels
    assert (data.length, data.background, len(data.classes)) == (1, None, 150)
    assert data.classes[0] == ("name1", "other name1")
    assert [labels[0, k] for k in (0, 10, 50)] == [-1, 0, 149]
    (tmp_path / "short.txt").write_text("Idx\tName\n1\twall\n")
    with pytest.raises(ConfigError, match="1 to 150"):
        read_ade_classes(tmp_path / "short.txt")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_something_else_is_explained(tmp_path, layout):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        LAYOUTS[layout](tmp_path)


def test_the_command_writes_table_and_record(tmp_path, capsys):
    labels = np.zeros((192, 256), int)
    labels[100:] = 9
    write_voc(tmp_path, labels)
    out = tmp_path / "out"
    assert main(["bench", "segmentation", "voc", str(tmp_path), "--device", "cpu", "--out", str(out)]) == 0
    record = json.loads((out / "voc.json").read_text())
    assert capsys.readouterr().out == (out / "voc.md").read_text()
    assert record["items"]["chair"]["pixels"] == 92 * 256
    assert len([name for name in record["rows"] if "background" in name]) == 4
