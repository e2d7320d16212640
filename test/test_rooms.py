"""Rooms of procedural furniture: what is true of them must be true to the pixel."""

import json
import zipfile

import numpy as np
import pytest

from sab3r_ros.errors import ConfigError
from sab3r_ros.rooms.clip import render_room
from sab3r_ros.rooms.layout import SPLITS, in_split
from sab3r_ros.rooms.library import load_library, read_catalogue, role_of
from sab3r_ros.rooms.obj import corner
from sab3r_ros.rooms.pieces import caption, color_name, nyu40_class
from sab3r_ros.rooms.procedural import SMALL_THINGS
from sab3r_ros.rooms.render import Renderer
from sab3r_ros.rooms.scene import Scene
from sab3r_ros.rooms.simple_furniture import chair, table
from sab3r_ros.rooms.store import fingerprint, load_pieces, save_pieces
from sab3r_ros.rooms.trajectory import look
from sab3r_ros.rooms.write import FIRST_SEED, ShardWriter, write_rooms
from sab3r_ros.training.shards import Shard, Vocabulary, reproject, transform, unproject

pytest.importorskip("open3d")
SIZE = (64, 48)
K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])


def bare_room() -> Scene:
    """4 × 3 × 2.5 m: floor 1, ceiling 2, walls 3 (y = 0), 4 (y = 3), 5 (x = 0), 6 (x = 4)."""
    scene = Scene(np.array([4.0, 3.0, 2.5]))
    X, Y, Z = np.diag(scene.size)
    white, color = np.full((8, 8, 3), 255, np.uint8), np.ones(3)
    zero = np.zeros(3)
    for start, a, b in ((zero, X, Y), (Z, X, Y), (zero, X, Z), (Y, X, Z), (zero, Y, Z), (X, Y, Z)):
        scene.add_surface(start, a, b, white, 1.0, "wall", color)
    return scene


def test_depth_along_the_central_ray_is_the_distance_to_the_wall():
    renderer = Renderer(bare_room(), np.random.default_rng(0))
    K_centred = np.array([[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]])
    for forward, distance, wall in (((1, 0, 0), 3.0, 6), ((0, 1, 0), 2.0, 4), ((-1, 0, 0), 1.0, 5)):
        shot = renderer.shot(K_centred, look(np.array([1.0, 1.0, 1.2]), np.array(forward, float)), *SIZE)
        assert shot.depth[24, 32] == pytest.approx(distance, abs=1e-4)
        assert shot.instance[24, 32] == wall
    assert (shot.depth > 0).all() and (shot.radiance >= 0).all()


def test_a_piece_stands_where_it_was_put_and_its_caption_names_its_colour():
    scene, rng = bare_room(), np.random.default_rng(1)
    piece = table(rng)
    scene.add_piece(piece, np.array([2.0, 1.5, 0]), 0.0, rng)
    shot = Renderer(scene, rng).shot(K, look(np.array([2.0, 0.2, 1.6]), np.array([0, 1.3, -0.9])), *SIZE)
    assert (shot.instance == 7).mean() > 0.05
    words = scene.labels[7]["caption"].split()
    assert words[0] in ("a", "an") and " ".join(words[2:]) == piece.name
    _, u = np.argwhere(shot.instance == 7).mean(0)
    assert abs(u - 31.5) < 6


def test_depth_and_pose_of_two_views_agree():
    clip = next(c for c in (render_room(s, views=4, size=SIZE) for s in range(30)) if len(c.images) >= 3)
    uv = np.stack(np.meshgrid(np.arange(2, 62, 4), np.arange(2, 46, 4)), -1).reshape(-1, 2).astype(float)
    agree = []
    for i in range(len(clip.images)):
        for j in range(len(clip.images)):
            if i != j:
                z = clip.depth[i][uv[:, 1].astype(int), uv[:, 0].astype(int)]
                X_W = transform(clip.T_WC[i], unproject(uv, z, clip.K))
                there, _ = reproject(X_W, {"T_WC": clip.T_WC[j], "K": clip.K}, clip.depth[j])
                cell = np.round(there).astype(int)
                inside = (cell >= 0).all(1) & (cell[:, 0] < SIZE[0]) & (cell[:, 1] < SIZE[1])
                depth = clip.depth[j][cell[inside, 1], cell[inside, 0]]
                own = ((X_W[inside] - clip.T_WC[j][:3, 3]) @ clip.T_WC[j][:3, :3])[:, 2]
                visible = (own > 0.1) & (own < depth * 1.05)  # not hidden behind something nearer
                agree.append(np.abs(depth[visible] / own[visible] - 1) < 0.03)
    assert np.concatenate(agree).mean() > 0.9


def test_a_seed_gives_the_same_room_twice():
    a, b = (render_room(7, views=3, size=SIZE) for _ in range(2))
    assert (a.images == b.images).all() and (a.depth == b.depth).all() and (a.instance == b.instance).all()
    assert a.labels == b.labels


def test_every_seen_instance_has_a_caption():
    clip = render_room(3, views=4, size=SIZE)
    assert set(np.unique(clip.instance).tolist()) - {0} <= set(clip.labels)
    assert all(label["caption"] and label["nyu40"] for label in clip.labels.values())


@pytest.mark.parametrize("make", [*SMALL_THINGS, chair, table])
def test_procedural_pieces_stand_on_the_ground_and_have_a_plausible_size(make):
    for seed in range(5):
        piece = make(np.random.default_rng(seed))
        assert piece.vertices[:, 2].min() == pytest.approx(0, abs=1e-6)
        assert np.allclose(np.ptp(piece.vertices, axis=0), piece.size, atol=1e-5)
        assert piece.size.max() < 2.2
        assert piece.triangles.max() < len(piece.vertices) and len(piece.material) == len(piece.triangles)


def test_no_model_is_in_two_splits():
    pieces = [type("P", (), {"id": f"piece {n}"}) for n in range(500)]
    counts = [sum(in_split(p, s) for s in SPLITS) for p in pieces]
    assert counts == [1] * 500
    assert 300 < sum(in_split(p, "train") for p in pieces) < 480


def test_colours_and_classes():
    assert caption("office chair", np.array([0.05, 0.05, 0.05])) == "a black office chair"
    assert caption("mug", np.array([0.9, 0.48, 0.1])) == "an orange mug"
    assert color_name(np.array([1.0, 1.0, 1.0])) == "white"
    assert nyu40_class("armchair") == "chair" and nyu40_class("coffee table") == "table"
    assert nyu40_class("bedside table") == "night stand" and nyu40_class("stapler") == "otherprop"


def test_a_killed_writer_leaves_whole_rooms_and_goes_on(tmp_path):
    write_rooms(tmp_path / "s", "train", [1, 2, 3], 3, SIZE, [])
    whole = (tmp_path / "s" / "frames.jsonl").read_text()
    frames = whole.count("\n")
    assert frames and (tmp_path / "s" / "images.u8").stat().st_size == frames * SIZE[0] * SIZE[1] * 3
    with (tmp_path / "s" / "images.u8").open("ab") as f:
        f.write(b"half a room")
    with (tmp_path / "s" / "frames.jsonl").open("a") as f:
        f.write('{"room": 4, "vi')
    write_rooms(tmp_path / "s", "train", [1, 2, 3, 5], 3, SIZE, [])
    rows = [json.loads(line) for line in (tmp_path / "s" / "frames.jsonl").read_text().splitlines()]
    assert [r["room"] for r in rows[:frames]] == [json.loads(line)["room"] for line in whole.splitlines()]
    shard = Shard(tmp_path / "s", Vocabulary(), SIZE[::-1])
    assert (shard.view(0).depth > 0).any()
    ShardWriter(tmp_path / "s", SIZE).close()


def test_a_room_that_lacks_views_is_written_again(tmp_path):
    write_rooms(tmp_path / "s", "train", [1, 3], 3, SIZE, [])
    lines = tmp_path / "s" / "frames.jsonl"
    whole = lines.read_text()
    rows = whole.splitlines(keepends=True)
    assert json.loads(rows[-1])["room"] == 3 and json.loads(rows[-1])["views"] > 1
    lines.write_text("".join(rows[:-1]))  # the disk was full before the last line
    writer = ShardWriter(tmp_path / "s", SIZE)
    writer.close()
    assert writer.rooms == {1}
    write_rooms(tmp_path / "s", "train", [1, 3], 3, SIZE, [])
    assert lines.read_text() == whole


def test_seeds_of_the_splits_are_far_apart():
    seeds = sorted(FIRST_SEED.values())
    assert set(FIRST_SEED) == set(SPLITS) and min(np.diff(seeds)) >= 1_000_000


def test_a_library_is_read_scaled_and_turned(tmp_path):
    obj = "mtllib m.mtl\nusemtl red\nv 0 0 0\nv 2 0 0\nv 2 1 0\nv 0 1 0\nv 0 0 4\nf 1 2 3 4\nf -5 -4 -1\n"
    catalogue = "id#1=x#chair\nname#1=Chair\ncategory#1=Office\nmodel#1=/m/chair.obj\nwidth#1=50\ndepth#1=60\nheight#1=90\n"
    with zipfile.ZipFile(tmp_path / "l.sh3f", "w") as z:
        z.writestr("PluginFurnitureCatalog.properties", catalogue)
        z.writestr("m/chair.obj", obj)
        z.writestr("m/m.mtl", "newmtl red\nKd 1 0 0\n")
    (piece,) = load_library(tmp_path)
    assert (piece.name, piece.nyu40, piece.role) == ("chair", "chair", "floor")
    assert len(piece.triangles) == 3 and np.allclose(piece.colors, [[1, 0, 0]])
    assert np.allclose(piece.vertices.min(0), [-0.25, -0.3, 0]) and np.allclose(
        piece.vertices.max(0), [0.25, 0.3, 0.9]
    )
    assert (load_library(tmp_path)[0].vertices == piece.vertices).all()  # from pieces.npz
    assert piece.vertices[4, 1] == pytest.approx(-0.3)  # OBJ's front, +z, is the piece's front, −y


def test_pieces_are_kept_and_read_anew_when_a_library_changes(tmp_path, caplog):
    files = [tmp_path / "a.sh3f"]
    files[0].write_bytes(b"one")
    mark, store = fingerprint(files), tmp_path / "pieces.npz"
    pieces = [make(np.random.default_rng(3)) for make in SMALL_THINGS]
    assert load_pieces(store, mark) is None
    save_pieces(store, pieces, mark)
    for before, after in zip(pieces, load_pieces(store, mark), strict=True):
        assert (before.id, before.name, before.nyu40, before.role, before.top) == (
            after.id, after.name, after.nyu40, after.role, after.top,
        )  # fmt: skip
        for name in ("size", "vertices", "triangles", "uv", "material", "colors", "texture"):
            assert (getattr(before, name) == getattr(after, name)).all()
        assert all((a == b).all() for a, b in zip(before.textures, after.textures, strict=True))
    files[0].write_bytes(b"another")
    assert load_pieces(store, fingerprint(files)) is None
    store.write_bytes(b"cut off")
    assert load_pieces(store, mark) is None and "broken" in caplog.text


def test_a_folder_without_a_library_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no furniture library"):
        load_library(tmp_path)


def test_catalogue_corner_and_role_by_hand():
    assert read_catalogue("a#2=x\nname#1=B\\u00e9d\n# note\nname=none") == [{"name": "Béd"}, {"a": "x"}]
    assert corner("3/-1/7", 10, 4) == (2, 3) and corner("-1", 10, 4) == (9, -1)
    size = np.array([0.3, 0.3, 0.2])
    assert role_of("mug", size, 0.0, False) == "top" and role_of("wall lamp", size, 0.0, False) == "wall"
    assert (
        role_of("armchair", size, 0.0, False) == "floor"
        and role_of("door", np.array([1, 0.1, 2.0]), 0.0, True) == "door"
    )
