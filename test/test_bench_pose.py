"""`sab3r bench pose`: figures against evo and by hand, loaders on small folders of the published layouts."""

import gzip
import json
from itertools import combinations

import cv2
import numpy as np
import oracle
import pytest
from scipy.spatial.transform import Rotation

from sab3r_ros.cli import main
from sab3r_ros.config import AlignmentConfig
from sab3r_ros.errors import ConfigError
from sab3r_ros.evaluation.pose import PoseScene, judge_poses, relative_poses
from sab3r_ros.evaluation.pose_data import LAYOUTS, co3d_pose, drawn
from sab3r_ros.evaluation.pose_metrics import angle_deg, pose_errors, pose_score
from sab3r_ros.geometry.sim3 import Sim3


def random_poses(n, seed):
    rng = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, :3, :3] = Rotation.random(n, rng=rng).as_matrix()
    T[:, :3, 3] = rng.normal(size=(n, 3))
    return T


def test_rotation_errors_equal_evos():
    """evo compares relative poses a fixed number of frames apart: all such numbers make all pairs."""
    pytest.importorskip("evo", reason="rosdep has no key for it")
    from evo.core.metrics import RPE, PoseRelation, Unit
    from evo.core.trajectory import PosePath3D

    truth, guess = random_poses(8, 0), random_poses(8, 1)
    for apart in range(1, 8):
        rpe = RPE(PoseRelation.rotation_angle_deg, float(apart), Unit.frames, all_pairs=True)
        rpe.process_data((PosePath3D(poses_se3=list(truth)), PosePath3D(poses_se3=list(guess))))
        ours = [
            pose_errors(
                Sim3.from_matrix(np.linalg.inv(guess[i]) @ guess[i + apart]),
                np.linalg.inv(truth[i]) @ truth[i + apart],
            )[0]
            for i in range(8 - apart)
        ]
        assert np.allclose(ours, rpe.error, atol=1e-5)


def test_directions_by_hand():
    assert angle_deg(np.array([1.0, 0, 0]), np.array([1.0, 1, 0])) == pytest.approx(45)
    assert angle_deg(np.array([2.0, 0, 0]), np.array([-1.0, 0, 0])) == pytest.approx(180)
    assert angle_deg(np.array([1.0, 1e-7, 0]), np.array([1.0, 0, 0])) == pytest.approx(
        np.degrees(1e-7)
    )  # no rounding
    assert angle_deg(np.zeros(3), np.ones(3)) == np.inf


def test_the_score_by_hand():
    score = pose_score([[0, 0], [14, 170], [2, 29.5], [np.inf, np.inf]])
    assert (score.rra, score.rta, score.rta_either_sign) == (0.75, 0.25, 0.5)
    # greater errors 0, 14, 29.5 and none: right from 1, 15, and 30 degrees on
    assert score.maa == pytest.approx((30 + 16 + 1) / 30 / 4)
    assert (score.found, score.rotation_deg, score.pairs) == (0.75, 2, 4)
    assert np.isnan(pose_score(np.zeros((0, 2))).maa)


def test_maa_equals_the_histogram_of_the_published_definition():
    errors = np.random.default_rng(0).uniform(0, 60, (500, 2))
    counts, _ = np.histogram(np.maximum(*errors.T), bins=np.arange(31))
    assert pose_score(errors).maa == pytest.approx(np.mean(np.cumsum(counts / 500)))


def test_perfect_is_one_and_shuffled_is_chance():
    T = random_poses(40, 2)
    order = np.random.default_rng(0).permutation(40)
    perfect, shuffled = [], []
    for i, j in combinations(range(40), 2):
        truth = np.linalg.inv(T[i]) @ T[j]
        perfect.append(pose_errors(Sim3.from_matrix(truth), truth))
        shuffled.append(pose_errors(Sim3.from_matrix(np.linalg.inv(T[order[i]]) @ T[order[j]]), truth))
    score = pose_score(perfect)
    assert (score.rra, score.rta, score.maa, score.found) == (1, 1, 1, 1)
    score = pose_score(shuffled)
    # Random rotations: (a − sin a) / π below a; random directions with either sign: 1 − cos a.
    assert score.rra == pytest.approx((np.radians(15) - np.sin(np.radians(15))) / np.pi, abs=0.01)
    assert score.rta_either_sign == pytest.approx(1 - np.cos(np.radians(15)), abs=0.02)
    assert score.maa < 0.02


def scene_of(world, poses):
    images = [world.image(T) for T in poses]
    return PoseScene("walk", "walk", np.stack(poses), lambda k: images[k])


def test_a_true_network_finds_every_pose():
    world = oracle.World()
    scene = scene_of(world, oracle.walk(6))
    result, again = (
        judge_poses(oracle.OracleModel(world), scene, AlignmentConfig(), seed=0) for _ in range(2)
    )
    assert np.array_equal(result.errors, again.errors)
    score = pose_score(result.errors)
    assert (score.rra, score.rta, score.found, score.pairs) == (1, 1, 1, 15) and score.rotation_deg < 0.5
    assert pose_score(result.still).rta == 0


def test_parts_that_nothing_joins_are_judged_each_for_itself():
    """Two cameras see one world, two another: pairs across have no pose, the others do, whatever comes first."""
    world, other = oracle.World(), oracle.World(shift=7.3)
    poses = oracle.walk(12)[:2] + oracle.walk(12)[6:8]
    images = [world.image(poses[0]), other.image(poses[2]), other.image(poses[3]), world.image(poses[1])]
    model = oracle.OracleModel(world)
    plain = model.encode
    there = oracle.OracleModel(other)
    model.encode = lambda image: plain(image) if image.tobytes() in world.seen else there.encode(image)
    scene = PoseScene("two", "two", np.stack([poses[k] for k in (0, 2, 3, 1)]), lambda k: images[k])
    errors = judge_poses(model, scene, AlignmentConfig(), seed=0).errors
    found = [
        pair for pair, ok in zip(combinations(range(4), 2), np.isfinite(errors[:, 0]), strict=True) if ok
    ]
    assert found == [(0, 3), (1, 2)] and np.nanmax(errors[np.isfinite(errors)]) < 5


def test_relative_poses_need_one_part():
    T = Sim3(2.0, np.eye(3), np.array([1.0, 0, 0]))
    found = relative_poses([{0: Sim3.identity(), 2: T}, {1: T}])
    assert list(found) == [(0, 2)] and found[0, 2].t.tolist() == [1, 0, 0]


def test_co3ds_cameras_by_hand():
    """PyTorch3D: at the origin, looking along +z, x to the left. A world point one metre to the left has x = −1 in RDF."""
    T_WC = co3d_pose({"R": np.eye(3).tolist(), "T": [0, 0, 3]})
    assert np.allclose(np.linalg.inv(T_WC) @ [1, 0, 0, 1], [-1, 0, 3, 1])
    quarter = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # rows multiply from the left: x goes to y
    assert np.allclose(
        np.linalg.inv(co3d_pose({"R": quarter.tolist(), "T": [0, 0, 0]})) @ [1, 0, 0, 1], [0, -1, 0, 1]
    )


def write_co3d(folder, sequences):
    """One category "apple". sequences: name → (quality, listed frames, wild)."""
    root = folder / "apple"
    (root / "set_lists").mkdir(parents=True)
    frames, listed = [], []
    for name, (_, count, wild) in sequences.items():
        (root / name / "images").mkdir(parents=True)
        for k in range(1, count + 2):
            path = f"apple/{name}/images/frame{k:06d}.jpg"
            cv2.imwrite(str(folder / path), np.full((8, 8, 3), k, np.uint8))
            view = {"R": np.eye(3).tolist(), "T": [k, 0, 1e6 if wild else 2], "focal_length": [1, 1]}
            frames.append(
                {"sequence_name": name, "frame_number": k, "image": {"path": path}, "viewpoint": view}
            )
            if k <= count:
                listed.append([name, k, path])
    notes = [
        {"sequence_name": n, "viewpoint_quality_score": quality} for n, (quality, *_) in sequences.items()
    ]
    for name, content in (("frame_annotations.jgz", frames), ("sequence_annotations.jgz", notes)):
        with gzip.open(root / name, "wt") as file:
            json.dump(content, file)
    lists = {"train": [["other", 1, "apple/other/images/frame000001.jpg"]], "test": listed}
    (root / "set_lists" / "set_lists_fewview_dev.json").write_text(json.dumps(lists))


def test_co3d(tmp_path):
    write_co3d(
        tmp_path,
        {
            "1_2_3": (0.9, 55, False),
            "bad": (0.2, 55, False),
            "few": (0.9, 49, False),
            "wild": (0.9, 55, True),
        },
    )
    (scene,) = LAYOUTS["co3d"](tmp_path, 10, 0)
    assert (scene.name, scene.group, scene.T_WC.shape) == ("apple/1_2_3", "apple", (10, 4, 4))
    numbers = -scene.T_WC[:, 0, 3]  # T's x is the frame's number; RDF turns it round, the inverse once more
    assert len(set(np.abs(numbers))) == 10 and np.abs(numbers).max() <= 55
    assert abs(int(scene.load(3)[0, 0, 0]) - abs(numbers[3])) <= 2  # JPEG
    (again,), (other,) = LAYOUTS["co3d"](tmp_path, 10, 0), LAYOUTS["co3d"](tmp_path, 10, 1)
    assert np.array_equal(again.T_WC, scene.T_WC) and not np.array_equal(other.T_WC, scene.T_WC)


def test_seven_scenes_tum_and_kitti(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    for k in range(4):
        T = np.eye(4)
        T[0, 3] = k
        cv2.imwrite(str(tmp_path / f"frame-{k:06d}.color.png"), image + k)
        np.savetxt(tmp_path / f"frame-{k:06d}.pose.txt", T)
    (scene,) = LAYOUTS["7scenes"](tmp_path, 3, 0)
    assert [scene.load(k)[0, 0, 0] for k in range(3)] == scene.T_WC[:, 0, 3].tolist()

    (tmp_path / "rgb").mkdir()
    for stamp in ("0.500000", "1.500000", "9.000000"):
        cv2.imwrite(str(tmp_path / "rgb" / f"{stamp}.png"), image)
    half = Rotation.from_euler("z", 90, degrees=True).as_quat()
    rows = [[0, 0, 0, 0, 0, 0, 0, 1], [1, 2, 0, 0, 0, 0, 0, 1], [2, 2, 2, 0, *half]]
    np.savetxt(tmp_path / "groundtruth.txt", rows)
    (scene,) = LAYOUTS["tum"](tmp_path, 2, 0)  # the third image has no pose
    assert np.allclose(scene.T_WC[:, :3, 3], [[1, 0, 0], [2, 1, 0]])
    assert np.allclose(scene.T_WC[1, :3, :3], Rotation.from_euler("z", 45, degrees=True).as_matrix())

    (tmp_path / "poses").mkdir()
    (tmp_path / "sequences" / "00" / "image_0").mkdir(parents=True)
    rows = np.tile(np.eye(4)[:3].ravel(), (5, 1))
    rows[:, 11] = range(5)
    np.savetxt(tmp_path / "poses" / "00.txt", rows)
    for k in (2, 3, 4):
        cv2.imwrite(str(tmp_path / "sequences" / "00" / "image_0" / f"{k:06d}.png"), image[..., 0] + k)
    (scene,) = LAYOUTS["kitti"](tmp_path, 2, 0)
    assert [scene.load(k)[0, 0, 0] for k in range(2)] == scene.T_WC[:, 2, 3].tolist()
    with pytest.raises(ConfigError, match="fewer than the 9"):
        list(LAYOUTS["7scenes"](tmp_path, 9, 0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_something_else_is_explained(tmp_path, layout):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        list(LAYOUTS[layout](tmp_path, 10, 0))


def test_a_scenes_images_depend_on_seed_and_name_alone():
    assert drawn(50, 10, 0, "a") == drawn(50, 10, 0, "a") != drawn(50, 10, 0, "b")
    assert drawn(5, 5, 3, "x") == [0, 1, 2, 3, 4]


def test_the_command_writes_table_and_record(tmp_path, capsys):
    world, out = oracle.World(), tmp_path / "out"
    for k, T in enumerate(oracle.walk(3, turn=0.1)):
        cv2.imwrite(str(tmp_path / f"frame-{k:06d}.color.png"), world.image(T))
        np.savetxt(tmp_path / f"frame-{k:06d}.pose.txt", T)
    command = [
        "bench",
        "pose",
        "7scenes",
        str(tmp_path),
        "--frames",
        "3",
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    assert main(command) == 0
    record = json.loads((out / "7scenes.json").read_text())
    assert capsys.readouterr().out == (out / "7scenes.md").read_text()
    assert record["configuration"]["seed"] == 0 and "min_matches" in record["configuration"]["alignment"]
    ((_, item),) = record["items"].items()
    assert len(item["errors_deg"]) == 3 and set(record["rows"]) > {"nothing has moved"}
