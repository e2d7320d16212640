"""Small things that the furniture libraries lack, in endless variation: what stands on desks and lies about."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from sab3r_ros.rooms.pieces import Piece
from sab3r_ros.rooms.shapes import Part, assemble, ball, box, lathe, moved, turned
from sab3r_ros.rooms.textures import cover, keys, painting, random_color, screen, written_page

Rng = np.random.Generator
DEVICE = ("black", "black", "grey", "white")  # colours of electronics


def monitor(rng: Rng) -> Piece:
    w = rng.uniform(0.36, 0.66)
    h, d, foot = (
        w * rng.uniform(0.56, 0.8),
        rng.uniform(0.02, 0.06) if rng.random() < 0.8 else 0.35,
        rng.uniform(0.08, 0.16),
    )
    color, z = random_color(rng, DEVICE), foot + h / 2
    return assemble(
        "computer monitor",
        "television",
        [
            Part(box((0, 0, z), (w, d, h)), color),
            Part(box((0, -d / 2 - 0.002, z), (w * 0.93, 0.004, h * 0.9)), screen(rng)[::-1], (0, 2)),
            Part(box((0, 0.02, foot / 2), (0.06, 0.03, foot + 0.05)), color),
            Part(lathe([(0.001, 0), (0.12, 0), (0.12, 0.015), (0.001, 0.015)]), color),
        ],
    )


def laptop(rng: Rng) -> Piece:
    color, w, d = random_color(rng, DEVICE), 0.34, 0.24
    lean = -rng.uniform(5, 30)
    lid = moved(turned(box((0, 0, d / 2), (w, 0.012, d)), lean, 0), (0, d / 2, 0.02))
    display = moved(turned(box((0, -0.008, d / 2), (w * 0.92, 0.002, d * 0.88)), lean, 0), (0, d / 2, 0.02))
    return assemble(
        "laptop",
        "otherprop",
        [
            Part(box((0, 0, 0.01), (w, d, 0.02)), color),
            Part(box((0, 0.02, 0.0205), (w * 0.9, d * 0.5, 0.002)), keys(color, color * 0.5)),
            Part(lid, color),
            Part(display, screen(rng)[::-1], (0, 2)),
        ],
    )


def keyboard(rng: Rng) -> Piece:
    w, d, h = rng.uniform(0.38, 0.48), rng.uniform(0.13, 0.19), rng.uniform(0.015, 0.03)
    base = random_color(rng, ("black", "white", "grey", "beige"))
    key = np.clip(
        base * rng.uniform(0.55, 0.85) if base.mean() > 0.3 else base + rng.uniform(0.05, 0.2), 0, 1
    )
    body = box((0, 0, h / 2), (w, d, h))
    body[0][body[0][:, 1] > 0, 2] += rng.uniform(0, 0.015)
    caps = Part(box((0, 0, h + 0.002), (w * 0.95, d * 0.88, 0.003)), keys(base, key))
    return assemble("computer keyboard", "otherprop", [Part(body, base), caps])


def mouse(rng: Rng) -> Piece:
    return assemble(
        "computer mouse",
        "otherprop",
        [Part(ball((0, 0, 0.012), (0.032, 0.055, 0.022)), random_color(rng, DEVICE))],
    )


def mug(rng: Rng) -> Piece:
    r, h, color = rng.uniform(0.035, 0.05), rng.uniform(0.08, 0.12), random_color(rng)
    cup = lathe(
        [(0.001, 0), (r * 0.9, 0), (r, h * 0.2), (r, h), (r * 0.88, h), (r * 0.85, 0.01), (0.001, 0.01)]
    )
    handle = [
        Part(box((r + 0.03 * np.cos(a), 0, h / 2 + 0.03 * np.sin(a)), (0.012, 0.012, 0.02)), color)
        for a in np.linspace(-1.4, 1.4, 8)
    ]
    return assemble("mug", "otherprop", [Part(cup, color), *handle])


def bottle(rng: Rng) -> Piece:
    r, h = rng.uniform(0.03, 0.05), rng.uniform(0.18, 0.32)
    body = lathe([(0.001, 0), (r, 0), (r, h * 0.6), (r * 0.35, h * 0.78), (r * 0.35, h * 0.95)])
    label, cap = (
        lathe([(r * 1.01, h * 0.2), (r * 1.01, h * 0.5)]),
        lathe([(r * 0.4, h * 0.93), (r * 0.4, h), (0.001, h)]),
    )
    color = random_color(rng, ("green", "brown", "blue", "white", "red"))
    return assemble(
        "bottle",
        "otherprop",
        [Part(body, color), Part(label, random_color(rng)), Part(cap, random_color(rng))],
    )


def can(rng: Rng) -> Piece:
    body = lathe([(0.025, 0), (0.033, 0.01), (0.033, 0.11), (0.026, 0.12)])
    lid, band = lathe([(0.001, 0.118), (0.026, 0.118)]), lathe([(0.0335, 0.03), (0.0335, 0.08)])
    color = random_color(rng, ("red", "blue", "green", "white", "orange", "grey"))
    return assemble(
        "soda can",
        "otherprop",
        [Part(body, color), Part(lid, np.full(3, 0.75)), Part(band, random_color(rng))],
    )


def book(rng: Rng) -> Piece:
    w, d, h = rng.uniform(0.12, 0.22), rng.uniform(0.18, 0.3), rng.uniform(0.01, 0.05)
    return assemble(
        "book",
        "books",
        [
            Part(box((0, 0, h / 2), (w, d, h * 0.9)), np.array([0.9, 0.88, 0.8])),
            Part(box((0, 0, h - 0.002), (w * 1.03, d * 1.03, 0.004)), cover(rng)),
            Part(box((0, 0, 0.002), (w * 1.03, d * 1.03, 0.004)), random_color(rng)),
            Part(box((-w / 2, 0, h / 2), (0.006, d * 1.03, h)), random_color(rng)),
        ],
    )


def stack_of_books(rng: Rng) -> Piece:
    parts, z = [], 0.0
    for _ in range(int(rng.integers(2, 6))):
        w, d, h = rng.uniform(0.12, 0.22), rng.uniform(0.18, 0.28), rng.uniform(0.01, 0.045)
        look = cover(rng) if rng.random() < 0.7 else random_color(rng)
        parts.append(Part(turned(box((0, 0, z + h / 2), (w, d, h)), rng.uniform(-25, 25), 2), look))
        z += h
    return assemble("stack of books", "books", parts, role="any")


def cardboard_box(rng: Rng) -> Piece:
    w, d, h = rng.uniform(0.15, 0.5, 3)
    color = np.array([0.65, 0.48, 0.3]) * rng.uniform(0.8, 1.2)
    tape = Part(box((0, 0, h + 0.001), (w, 0.05, 0.003)), color * 1.15)
    return assemble("cardboard box", "box", [Part(box((0, 0, h / 2), (w, d, h)), color), tape], role="any")


def teddy_bear(rng: Rng) -> Piece:
    fur = np.full(3, rng.uniform(0.35, 0.75)) * [1, 0.72, 0.48]
    scale, muzzle, dark = rng.uniform(0.7, 1.6), np.clip(fur * 1.3, 0, 1), np.zeros(3)
    limbs = [
        ((0, 0, 0.1), (0.075, 0.06, 0.09), fur),  # body
        ((0, -0.01, 0.22), (0.06, 0.055, 0.055), fur),  # head
        ((0, -0.06, 0.205), (0.025, 0.02, 0.018), muzzle),
        ((0, -0.08, 0.21), (0.008, 0.006, 0.006), dark),  # nose
    ]
    for side in (-1, 1):
        limbs += [
            ((side * 0.045, 0, 0.27), (0.022, 0.015, 0.022), fur),  # ear
            ((side * 0.08, -0.04, 0.14), (0.03, 0.05, 0.025), fur),  # arm
            ((side * 0.05, -0.09, 0.03), (0.03, 0.07, 0.03), fur),  # leg
            ((side * 0.02, -0.06, 0.24), (0.006, 0.006, 0.006), dark),  # eye
        ]
    parts = [Part(ball(np.array(c) * scale, np.array(r) * scale), color) for c, r, color in limbs]
    return assemble("teddy bear", "otherprop", parts)


def potted_plant(rng: Rng) -> Piece:
    r = rng.uniform(0.05, 0.14)
    h = r * rng.uniform(1.2, 2)
    pot = lathe([(0.001, 0), (r * 0.75, 0), (r, h), (r * 0.9, h), (r * 0.88, h * 0.9), (0.001, h * 0.9)])
    parts = [Part(pot, random_color(rng, ("brown", "white", "orange", "grey", "black", "beige")))]
    green, breadth = np.array([0.12, 0.35, 0.1]) * rng.uniform(0.6, 1.7), rng.choice([0.12, 0.25, 0.4])
    t = np.linspace(0, 1, 5)
    strip = np.array([tri for i in range(4) for tri in ([i, i + 1, 5 + i], [i + 1, 6 + i, 5 + i])])
    for _ in range(int(rng.integers(14, 40))):
        length, rise = r * rng.uniform(1.5, 4.5), rng.uniform(0.3, 1.5)
        x, z = length * t * np.cos(rise), h + length * (t * np.sin(rise) - 0.45 * t * t * np.cos(rise))
        half = length * breadth * np.sin(np.pi * np.clip(t, 0.08, 0.97)) / 2
        leaf = np.concatenate([np.stack([x, half, z], 1), np.stack([x, -half, z], 1)])
        shade = np.clip(green * rng.uniform(0.7, 1.4) + rng.normal(0, 0.03, 3), 0, 1)
        parts.append(Part(turned((leaf, strip), rng.uniform(0, 360), 2), shade))
    return assemble("potted plant", "otherprop", parts, role="any" if r < 0.1 else "floor")


def globe(rng: Rng) -> Piece:
    r = rng.uniform(0.08, 0.16)
    land = (rng.random((8, 8, 1)) < 0.35) * np.array([60, 20, -120]) + [60, 110, 200]
    sphere = Part(
        ball((0, 0, r + 0.06), r, 24), cv2.resize(land.clip(0, 255).astype(np.uint8), (128, 128)), (0, 2)
    )
    foot = lathe([(0.001, 0), (r * 0.6, 0), (r * 0.5, 0.02), (0.02, 0.03), (0.02, 0.07)])
    return assemble("globe", "otherprop", [sphere, Part(foot, random_color(rng, ("black", "brown", "grey")))])


def telephone(rng: Rng) -> Piece:
    color = random_color(rng, ("black", "white", "grey", "beige"))
    body = box((0, 0, 0.03), (0.18, 0.2, 0.05))
    body[0][(body[0][:, 1] < 0) & (body[0][:, 2] > 0.03), 2] -= 0.02
    pad = Part(box((0.03, -0.02, 0.052), (0.08, 0.1, 0.006)), keys(color, np.clip(1.2 - color, 0, 1)))
    return assemble(
        "telephone",
        "otherprop",
        [Part(body, color), Part(box((-0.06, 0, 0.07), (0.045, 0.2, 0.035)), color * 0.9), pad],
    )


def mobile_phone(rng: Rng) -> Piece:
    body, glass = box((0, 0, 0.005), (0.07, 0.14, 0.01)), box((0, 0, 0.0105), (0.063, 0.125, 0.001))
    return assemble(
        "mobile phone", "otherprop", [Part(body, random_color(rng, DEVICE)), Part(glass, screen(rng))]
    )


def table_lamp(rng: Rng) -> Piece:
    r, h = rng.uniform(0.08, 0.15), rng.uniform(0.25, 0.45)
    foot = lathe([(0.001, 0), (r * 0.7, 0), (r * 0.6, 0.02), (0.02, 0.04), (0.02, h)])
    shade = lathe([(r, h - 0.05), (r * rng.uniform(0.4, 1), h + 0.12)])
    look = random_color(rng, ("white", "beige", "yellow", "red", "orange"))
    return assemble("table lamp", "lamp", [Part(foot, random_color(rng)), Part(shade, look)])


def sheet_of_paper(rng: Rng) -> Piece:
    return assemble(
        "sheet of paper", "paper", [Part(box((0, 0, 0.001), (0.21, 0.297, 0.002)), written_page(rng))]
    )


def toy_ball(rng: Rng) -> Piece:
    r = rng.uniform(0.03, 0.12)
    return assemble("ball", "otherprop", [Part(ball((0, 0, r), r, 20), random_color(rng))], role="any")


def picture(rng: Rng) -> Piece:
    w, h = rng.uniform(0.25, 1.0, 2)
    frame, canvas = box((0, 0, h / 2), (w, 0.03, h)), box((0, -0.017, h / 2), (w * 0.88, 0.004, h * 0.88))
    parts = [Part(frame, random_color(rng)), Part(canvas, painting(rng)[::-1], (0, 2))]
    return assemble("picture", "picture", parts, role="wall")


Maker = Callable[[Rng], Piece]
SMALL_THINGS: tuple[Maker, ...] = (
    monitor, keyboard, mouse, mug, bottle, can, book, stack_of_books, cardboard_box, teddy_bear, potted_plant, globe,
    telephone, mobile_phone, table_lamp, sheet_of_paper, toy_ball, laptop,
)  # fmt: skip
CLUTTER: tuple[Maker, ...] = (potted_plant, cardboard_box, toy_ball, stack_of_books)
