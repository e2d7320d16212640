"""Chairs, tables and bookcases of a few boxes, in endless variation: rooms need no furniture library."""

from __future__ import annotations

import numpy as np

from sab3r_ros.rooms.pieces import Piece, color_name
from sab3r_ros.rooms.shapes import Part, assemble, box, lathe, moved, turned
from sab3r_ros.rooms.textures import random_color

Rng = np.random.Generator
WOOD = ("brown", "white", "beige", "grey", "black", "brown")


def chair(rng: Rng) -> Piece:
    """A chair on four legs, or an office chair on a star, with a padded back or rungs, with or without arms."""
    color, metal = random_color(rng), random_color(rng, ("black", "brown", "grey", "white"))
    w, h, back, leg = (
        rng.uniform(0.38, 0.5),
        rng.uniform(0.42, 0.48),
        rng.uniform(0.35, 0.6),
        rng.choice([0.02, 0.04]),
    )
    parts = [Part(box((0, 0, h), (w, w, 0.04)), color)]
    if rng.random() < 0.5:
        name = "wooden chair" if color_name(metal) == "brown" else "chair"
        inset = w / 2 - 0.03
        parts += [
            Part(box((a * inset, b * inset, h / 2), (leg, leg, h)), metal) for a in (-1, 1) for b in (-1, 1)
        ]
        parts += [
            Part(box((a * inset, w / 2 - 0.02, h + back / 2), (leg, leg, back)), metal) for a in (-1, 1)
        ]
    else:
        name = "office chair"
        parts.append(Part(lathe([(0.025, 0.1), (0.025, h)]), metal))
        parts += [
            Part(turned(box((0.14, 0, 0.07), (0.28, 0.04, 0.04)), a, 2), metal) for a in range(0, 360, 72)
        ]
        if rng.random() < 0.5:
            for side in (-1, 1):
                parts.append(Part(box((side * w / 2, 0, h + 0.2), (0.05, 0.25, 0.03)), metal))
                parts.append(Part(box((side * w / 2, 0.05, h + 0.1), (0.03, 0.03, 0.2)), metal))
    if rng.random() < 0.5:
        pad = turned(box((0, 0, back / 2), (w * 0.95, 0.04, back * 0.8)), -8, 0)
        parts.append(Part(moved(pad, (0, w / 2 - 0.03, h + back * 0.1)), color))
    else:
        parts += [
            Part(box((0, w / 2 - 0.02, h + back * k), (w * 0.9, 0.02, 0.06)), color) for k in (0.4, 0.65, 0.9)
        ]
    return assemble(name, "chair", parts, role="floor")


def table(rng: Rng) -> Piece:
    w, d, h = rng.uniform(0.7, 1.8), rng.uniform(0.6, 0.95), rng.uniform(0.68, 0.78)
    color = random_color(rng, WOOD)
    legs = color if rng.random() < 0.6 else random_color(rng, ("black", "white", "grey"))
    if rng.random() < 0.3:
        plate = lathe([(0.001, h - 0.03), (w / 2, h - 0.03), (w / 2, h), (0.001, h)], 28)
        foot = lathe([(0.3, 0), (0.06, 0.04), (0.05, h - 0.03)])
        return assemble("round table", "table", [Part(plate, color), Part(foot, legs)], role="floor", top=h)
    kind = "desk" if rng.random() < 0.5 else "table"
    parts = [Part(box((0, 0, h - 0.02), (w, d, 0.04)), color)]
    parts += [
        Part(box((a * (w / 2 - 0.05), b * (d / 2 - 0.05), h / 2 - 0.02), (0.05, 0.05, h - 0.04)), legs)
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    return assemble(kind, kind, parts, role="floor", top=h)


def bookcase(rng: Rng) -> Piece:
    w, d, h, shelves = (
        rng.uniform(0.6, 1.2),
        rng.uniform(0.25, 0.4),
        rng.uniform(1.2, 2.1),
        int(rng.integers(3, 6)),
    )
    color = random_color(rng, ("brown", "white", "beige", "black"))
    parts = [Part(box((a * w / 2, 0, h / 2), (0.03, d, h)), color) for a in (-1, 1)]
    parts.append(Part(box((0, d / 2, h / 2), (w, 0.01, h)), color))
    parts += [Part(box((0, 0, h * k / shelves), (w, d, 0.03)), color) for k in range(shelves + 1)]
    for k in range(shelves):
        x = -w / 2 + 0.05
        while x < w / 2 - 0.08:
            thick, tall = rng.uniform(0.015, 0.05), rng.uniform(0.5, 0.85) * h / shelves
            if rng.random() < 0.8:
                z = h * k / shelves + tall / 2 + 0.015
                parts.append(Part(box((x + thick / 2, 0.02, z), (thick, d * 0.6, tall)), random_color(rng)))
            x += thick + 0.002
    return assemble("bookcase", "bookshelf", parts, role="floor")
