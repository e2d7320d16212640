"""What a keyframe costs: the full-size network against the plain way of running it, loading, and the embedded network.

    python bench/network.py [--weights FILE] [--repeats 1] [--parts golden,keyframe,load,mini] [--compile]

All figures come beside their goals in the last table. --compile adds a row for blocks that torch.compile has compiled.
Full-size weights are made by a rule (bench/rule.py) into build/bench once, 2.9 GB. Each measurement runs in a process
of its own, so that its peak memory is its own. On a busy machine compare ratios, not seconds.
What is measured is the installed package; PYTHONPATH=. measures the checkout.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rule import fill, rule_tensor, transposed
from safetensors.torch import load_file

from sab3r_ros.model import SAB3R, SAB3RConfig
from sab3r_ros.model.feature_model import EMBEDDED, load_model
from sab3r_ros.model.network_model import DESCRIPTOR_STRIDE, FEATURE_CELL, MonocularModel, TwoViewModel
from sab3r_ros.model.preprocess import to_tensor
from sab3r_ros.model.weights import load_checkpoint, meta_model, own_tensors, write_checkpoint

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "test" / "data" / "golden" / "tiny_landscape.safetensors"
CPU = torch.device("cpu")
NEIGHBOURS = 2


def image(seed: int, size: tuple[int, int] = (384, 512)) -> np.ndarray:
    """A picture with structure at every scale, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    x = torch.zeros(1, 3, *size)
    for k in range(2, 9):
        noise = torch.from_numpy(rng.standard_normal((1, 3, 2**k * 3 // 4, 2**k), dtype=np.float32))
        x += torch.nn.functional.interpolate(noise, size=size, mode="bicubic") / k
    return ((x - x.min()) / (x.max() - x.min()) * 255)[0].permute(1, 2, 0).byte().numpy()


def make_weights(path: Path) -> None:
    """A full-size checkpoint by the rule, float32."""
    config = SAB3RConfig.sab3r_c()
    tensors = {k: rule_tensor(k, tuple(v.shape)) for k, v in own_tensors(meta_model(config)).items()}
    write_checkpoint(path, tensors, config, {"source_sha256": "rule"})


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def timed(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median seconds, and seconds of processor, of `repeats` runs after one that is not counted."""
    work()
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        began, cpu_began = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - cpu_began)
    return {"seconds": float(np.median(seconds)), "cpu_seconds": float(np.median(cpu_seconds))}


def plain_keyframe(weights: Path, repeats: int, out: Path) -> dict[str, float]:
    """The readable twin: each pair from its two images, every head of both views, float32."""
    network = load_checkpoint(weights)
    pictures = [to_tensor(image(k), CPU) for k in range(1 + NEIGHBOURS)]

    @torch.inference_mode()
    def add_keyframe() -> list[tuple[dict, dict]]:
        return [network(pictures[0], neighbour) for neighbour in pictures[1:]]

    kept: dict[str, np.ndarray] = {}

    def work() -> None:
        pairs = add_keyframe()
        for k, (first, _) in enumerate(pairs):
            kept[f"points{k}"] = first["pts3d"][0].numpy()
            kept[f"desc{k}"] = first["desc"][0].numpy()
        language = torch.nn.functional.normalize(pairs[0][0]["clip"], dim=-1).permute(0, 3, 1, 2)
        kept["language"] = torch.nn.functional.avg_pool2d(language, FEATURE_CELL)[0].permute(1, 2, 0).numpy()

    times = timed(work, repeats)
    np.savez(out, **kept)
    return {**times, "peak_gb": peak_gb()}


def fast_keyframe(weights: Path, repeats: int, out: Path, compiled: bool) -> dict[str, float]:
    """As the mapper does it: the keyframe encoded once, its pairs decoded, the heads that a map reads.

    `mapping.window.Window` reads the keyframe's points and language features once, the descriptors of both views
    for every pair.
    """
    model = load_model(weights, CPU, compiled)
    pictures = [image(k) for k in range(1 + NEIGHBOURS)]
    neighbours = [model.encode(p) for p in pictures[1:]]
    kept: dict[str, np.ndarray] = {}
    stages = dict.fromkeys(("encode", "decode", "points", "descriptors", "features"), 0.0)

    def clocked(stage: str, work: Callable[[], object]) -> object:
        began = time.perf_counter()
        result = work()
        stages[stage] += time.perf_counter() - began
        return result

    def work() -> None:
        stages.update(dict.fromkeys(stages, 0.0))
        keyframe = clocked("encode", lambda: model.encode(pictures[0]))
        for k, neighbour in enumerate(neighbours):
            first, second = clocked("decode", lambda n=neighbour: model.decode(keyframe, n))
            kept[f"desc{k}"], _ = clocked(
                "descriptors", lambda a=first, b=second: (a.descriptors, b.descriptors)
            )
            if k == 0:
                kept["points0"] = clocked("points", lambda a=first: a.points)
                kept["features"] = clocked("features", lambda a=first: a.features)

    times = timed(work, repeats)
    kept["language"] = kept.pop("features").astype(np.float32) @ model.feature_basis.T
    np.savez(out, **kept)
    return {**times, "peak_gb": peak_gb(), **{f"{k} s": v for k, v in stages.items()}}


def loading(weights: Path, precision: str) -> dict[str, float]:
    """A checkpoint from the file cache into a model that is ready to run."""
    before = peak_gb()
    began = time.perf_counter()
    kind = getattr(torch, precision)
    model = TwoViewModel(load_checkpoint(weights, kind), "bench", CPU, kind)
    seconds = time.perf_counter() - began
    # A mapped page counts once it is read: touch every parameter before measuring.
    touched = sum(float(p.detach().sum(dtype=torch.float32)) for p in model.network.parameters())
    size = sum(p.numel() * p.element_size() for p in model.network.parameters()) / 1e9
    return {
        "seconds": seconds,
        "peak_gb": peak_gb() - before,
        "size_gb": size,
        "peak_over_size": (peak_gb() - before) / size,
        "finite": float(np.isfinite(touched)),
    }


def mini(repeats: int) -> dict[str, float]:
    """The embedded network: a keyframe with two neighbours, from the camera's image to both views of every pair."""
    model = (
        load_model("mini", CPU)
        if EMBEDDED.is_file()
        else MonocularModel(SAB3R(SAB3RConfig.mini()), "random", CPU)
    )
    pictures = [image(k, (480, 640)) for k in range(1 + NEIGHBOURS)]
    neighbours = [model.encode(model.prepare(p)[0]) for p in pictures[1:]]

    def work() -> None:
        keyframe = model.encode(model.prepare(pictures[0])[0])
        for neighbour in neighbours:
            model.decode(keyframe, neighbour)
            model.decode(neighbour, keyframe)

    times = timed(work, max(10 * repeats, 10))
    return {
        **times,
        "keyframes_per_s": 1 / times["seconds"],
        "peak_gb": peak_gb(),
        "trained": float(EMBEDDED.is_file()),
    }


@torch.inference_mode()
def golden() -> dict[str, dict[str, float]]:
    """Largest relative error against the reference's outputs, float32.

    Portrait: the same scene and the same weights, both on their side.
    """
    reference = load_file(GOLDEN)
    config = SAB3RConfig(
        encoder_width=128,
        encoder_depth=3,
        encoder_heads=2,
        decoder_width=192,
        decoder_heads=3,
        features=(("clip", 512), ("dino", 384)),
    )
    upright, lying = fill(meta_model(config).to_empty(device=CPU)), meta_model(config).eval()
    lying.load_state_dict(transposed(upright.state_dict()), assign=True)
    images = reference["img1"], reference["img2"]
    on_side = lying(*(x.transpose(2, 3) for x in images))
    results = {
        "landscape": upright(*images),
        "portrait": [{k: v.transpose(1, 2) for k, v in maps.items()} for maps in on_side],
    }
    errors: dict[str, dict[str, float]] = {name: {} for name in results}
    for name, views in results.items():
        for view, maps in enumerate(views, start=1):
            for key, value in maps.items():
                truth = reference[f"res{view}.{key}"]
                value = value[:, ::2, ::2][..., : truth.shape[-1]] if value.ndim == 4 else value[:, ::2, ::2]
                error = float((value - truth).abs().max() / truth.abs().max())
                errors[name][key] = max(errors[name].get(key, 0.0), error)
    return errors


def compare(plain: Path, fast: Path) -> dict[str, float]:
    """How far the fast path's maps are from float32's."""
    a, b = dict(np.load(plain)), np.load(fast)
    a["desc0"] = a["desc0"][::DESCRIPTOR_STRIDE, ::DESCRIPTOR_STRIDE]
    errors = [
        np.median(np.linalg.norm(a[k] - b[k], axis=-1) / np.linalg.norm(a[k], axis=-1))
        for k in b.files
        if k.startswith("points")
    ]
    cosines = {
        key: (a[key] * b[key]).sum(-1) / np.linalg.norm(a[key], axis=-1) / np.linalg.norm(b[key], axis=-1)
        for key in ("language", "desc0")
    }
    return {
        "median pointmap error %": 100 * float(np.max(errors)),
        "feature cosine, median": float(np.median(cosines["language"])),
        "feature cosine, lowest 1 %": float(np.quantile(cosines["language"], 0.01)),
        "descriptor cosine, median": float(np.median(cosines["desc0"])),
    }


def in_own_process(part: str, args: argparse.Namespace, *more: str) -> dict[str, float]:
    """Run one part of this file in a fresh process."""
    command = [
        sys.executable,
        __file__,
        "--part",
        part,
        "--weights",
        str(args.weights),
        "--repeats",
        str(args.repeats),
    ]
    done = subprocess.run([*command, *more], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{part} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    print(f"\n{title}\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[c]:.4g}' if c in row else '' for c in columns)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=ROOT / "build" / "bench" / "rule_sab3r_c.safetensors")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--parts", default="golden,keyframe,load,mini")
    parser.add_argument(
        "--compile", action="store_true", help="also with torch.compile, which takes minutes first"
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if args.part:
        alone = {
            "weights": lambda: make_weights(args.weights),
            "plain": lambda: plain_keyframe(args.weights, args.repeats, args.out),
            "fast": lambda: fast_keyframe(args.weights, args.repeats, args.out, args.compile),
            "load": lambda: loading(args.weights, args.precision),
            "mini": lambda: mini(args.repeats),
        }
        print(json.dumps(alone[args.part]()))
        return
    parts = args.parts.split(",")
    if not args.weights.is_file() and {"keyframe", "load"} & set(parts):
        in_own_process("weights", args)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, bfloat16 natively: ", end="")
    print(bool(getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16")))
    found: dict[str, float] = {}
    if "golden" in parts:
        errors = golden()
        table("Largest relative error against the reference, float32, narrow network", errors)
        found["golden"] = max(error for maps in errors.values() for error in maps.values())
    if "keyframe" in parts:
        found |= keyframe(args)
    if "load" in parts:
        kinds = ("float32", "bfloat16")
        rows = {kind: in_own_process("load", args, "--precision", kind) for kind in kinds}
        table("Loading a full checkpoint", rows)
        found |= {
            f"load {key}": max(row[key] for row in rows.values()) for key in ("seconds", "peak_over_size")
        }
    if "mini" in parts:
        rows = {"mini": in_own_process("mini", args)}
        table(f"The embedded network, {NEIGHBOURS} neighbours", rows)
        found["mini"] = rows["mini"]["keyframes_per_s"]
    goals(found)


def keyframe(args: argparse.Namespace) -> dict[str, float]:
    """The plain and the fast way, each in its process, and how far apart their maps are."""
    maps = {kind: args.weights.with_name(f"{kind}.npz") for kind in ("plain", "fast", "compiled")}
    rows = {kind: in_own_process(kind, args, "--out", str(maps[kind])) for kind in ("plain", "fast")}
    if args.compile:
        rows["compiled"] = in_own_process("fast", args, "--out", str(maps["compiled"]), "--compile")
    for row in rows.values():
        row["of plain"] = row["seconds"] / rows["plain"]["seconds"]
        row["of plain, CPU"] = row["cpu_seconds"] / rows["plain"]["cpu_seconds"]
        row["s a pair"] = row["seconds"] / NEIGHBOURS
    table(f"One keyframe against {NEIGHBOURS} neighbours, 512 × 384, full size", rows)
    apart = {kind: compare(maps["plain"], maps[kind]) for kind in rows if kind != "plain"}
    table("The maps against float32", apart)
    return rows["fast"] | apart["fast"]


GOALS = {  # what is measured → its name, whether at most or at least, the goal
    "golden": ("largest relative error against the reference, landscape and portrait", "≤", 1e-4),
    "of plain": ("one keyframe against two neighbours: time, of the plain way's", "≤", 1 / 3),
    "s a pair": ("  seconds a pair (the reference code takes 14.3 in float32, 6.6 in bfloat16)", "≤", 6.6),
    "peak_gb": ("  peak memory, GB", "≤", 5.0),
    "median pointmap error %": ("  median pointmap error, %", "≤", 1.0),
    "feature cosine, median": ("  median feature cosine", "≥", 0.999),
    "load seconds": ("loading a full checkpoint: seconds, the slower precision", "≤", 3.0),
    "load peak_over_size": ("  peak memory, of the checkpoint's size", "≤", 1.2),
    "mini": ("the embedded network with two neighbours, keyframes/s", "≥", 5.0),
}


def goals(found: dict[str, float]) -> None:
    """Each figure beside its goal."""
    print("\nGoals\n| figure | goal | measured | |\n| --- | --- | --- | --- |")
    for key, (name, sense, goal) in GOALS.items():
        if key in found:
            met = found[key] <= goal if sense == "≤" else found[key] >= goal
            print(f"| {name} | {sense} {goal:.3g} | {found[key]:.4g} | {'met' if met else 'FALLS SHORT'} |")


if __name__ == "__main__":
    main()
