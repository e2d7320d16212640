"""What is asked in a room, and which answers are right."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from locate_maps import STRUCTURE, RoomMap, Thing

from sab3r_ros.querying.text import TextEncoder
from sab3r_ros.types import LocateAnswer

IOU = 0.25
DRAWS = 1000  # of what chance alone makes of the calibration error
SAME = 0.6  # text cosine from which another thing's name makes an answer neither right nor wrong
OTHER = 0.45  # text cosine below which a phrase names nothing in the room
HEADS = ("chair", "sofa", "table", "desk", "window", "door", "lamp", "bookcase", "cabinet", "box", "bed")
COLORS = (
    "black",
    "white",
    "grey",
    "red",
    "green",
    "blue",
    "yellow",
    "orange",
    "brown",
    "beige",
    "pink",
    "purple",
)
SYNONYMS = {
    "chair": "seat",
    "armchair": "easy chair",
    "sofa": "couch",
    "table": "dining table",
    "desk": "work desk",
    "computer monitor": "computer display",
    "computer keyboard": "pc keyboard",
    "laptop": "notebook computer",
    "mug": "coffee cup",
    "picture": "painting",
    "bookcase": "bookshelf",
    "cabinet": "cupboard",
    "potted plant": "houseplant",
    "mobile phone": "smartphone",
    "telephone": "landline phone",
    "soda can": "drink can",
    "stack of books": "pile of books",
    "teddy bear": "stuffed bear",
    "dustbin": "trash can",
    "refrigerator": "fridge",
    "box": "carton",
    "window": "windowpane",
    "door": "doorway",
    "lamp": "light",
    "toilet": "lavatory",
    "suitcase": "luggage",
    "step ladder": "ladder",
    "jacket": "coat",
    "coffee maker": "coffee machine",
}
ABSENT = (
    "giraffe", "piano", "bicycle", "motorcycle", "swimming pool", "horse", "fire hydrant", "traffic light", "surfboard",
    "bathtub", "guitar", "sewing machine", "washing machine", "fireplace", "tennis racket", "christmas tree", "aquarium",
    "toaster", "hair dryer", "wheelchair", "vacuum cleaner", "violin", "skateboard", "chainsaw", "tent",
)  # fmt: skip
Ask = Callable[[str], LocateAnswer]


def plain(name: str) -> str:
    """A catalogue's name in plain words: "double door with panes" → "door", "oak table" → "table"."""
    head = re.split(r" (?:with|small|large) ", name)[0].split()[-1]
    head = {"couch": "sofa", "doors": "door"}.get(head, head)
    return head if head in HEADS else name


@dataclass
class Tally:
    """Counts over rooms. scores, right: of every returned object, for calibration. absent_scores: the best of each absent
    thing's answer, at most the threshold where that is empty.
    """

    hits: int = 0
    wrong: int = 0
    missed: int = 0
    empty: int = 0
    absent: int = 0
    scores: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    offsets_m: list[float] = field(default_factory=list)
    absent_scores: list[float] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.hits / max(self.hits + self.wrong, 1)

    @property
    def recall(self) -> float:
        return self.hits / max(self.hits + self.missed, 1)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(2 * self.hits + self.wrong + self.missed, 1)

    @property
    def refused(self) -> float:
        return self.empty / max(self.absent, 1)

    @property
    def ece(self) -> float:
        """Expected calibration error in ten bins, over returned objects."""
        return calibration_error(np.array(self.scores), np.array(self.right, float))

    def ece_by_chance(self) -> tuple[float, float]:
        """What the error would be if each score were exactly the probability of being right: the mean, and what it is above
        one time in twenty. With few objects a bin's share of right ones is off by chance, and the error only adds that up.
        """
        scores, rng = np.array(self.scores), np.random.default_rng(0)
        draws = [calibration_error(scores, (rng.random(len(scores)) < scores) + 0.0) for _ in range(DRAWS)]
        return float(np.mean(draws)), float(np.quantile(draws, 0.95))


def calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """Of (N,) scores 0..1 and 1 where right, 0 where not: mean distance of a bin's share of right ones from its mean score."""
    bins = np.minimum((scores * 10).astype(int), 9)
    return float(
        sum(
            (bins == b).mean() * abs(scores[bins == b].mean() - right[bins == b].mean())
            for b in np.unique(bins)
        )
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two sets of voxels."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(len(a) + len(b) - both, 1)


def present(room: RoomMap) -> dict[str, list[Thing]]:
    """Plain name → the things that have it."""
    named = defaultdict(list)
    for thing in room.things:
        named[plain(thing.name)].append(thing)
    return dict(named)


def absent(room: RoomMap, everything: list[str], text: TextEncoder) -> list[str]:
    """Phrases that name nothing in the room: things of other rooms, and ABSENT."""
    here = sorted({w for t in room.things for w in (plain(t.name), t.caption, t.nyu40)}) + list(STRUCTURE)
    phrases = sorted(set(everything) | set(ABSENT))
    far = (text.encode(phrases) @ text.encode(here).T).max(1) < OTHER
    order = np.random.default_rng(len(room.snapshot.points)).permutation(np.flatnonzero(far))
    return [phrases[k] for k in order[:8]]


def alike(room: RoomMap, name: str, things: list[Thing], text: TextEncoder) -> np.ndarray:
    """(N,) voxels of other things that the name may fit, too: finding them is neither right nor wrong."""
    vector = text.encode([name])[0]
    classes = {t.nyu40 for t in things} - {"otherprop"}
    unsure = np.zeros(len(room.snapshot.points), bool)
    for t in room.things:
        if t not in things and (t.nyu40 in classes or text.encode([t.name])[0] @ vector > SAME):
            unsure[t.rows] = True
    return unsure


def judge(
    room: RoomMap, name: str, answer: LocateAnswer, things: list[Thing], text: TextEncoder, tally: Tally
) -> None:
    """Match an answer's objects, best first, with the things of that name."""
    unsure = alike(room, name, things, text)
    free = list(things)
    for found in answer.objects:
        overlaps = [iou(found.indices, t.rows) for t in free]
        right = bool(overlaps) and max(overlaps) >= IOU
        if right:
            thing = free.pop(int(np.argmax(overlaps)))
            tally.hits += 1
            tally.offsets_m.append(float(np.linalg.norm(found.centroid - thing.center)))
        elif unsure[found.indices].mean() > 0.5:
            continue
        else:
            tally.wrong += 1
        tally.scores.append(found.score)
        tally.right.append(right)
    tally.missed += len(free)


def ask_room(room: RoomMap, ask: Ask, everything: list[str], text: TextEncoder, tally: Tally) -> None:
    """Every present name, and absent ones. Of a map that is empty all is missed."""
    if not len(room.snapshot):
        tally.missed += sum(map(len, present(room).values()))
        return
    for name, things in present(room).items():
        judge(room, name, ask(name), things, text, tally)
    for name in absent(room, everything, text):
        answer = ask(name)
        tally.absent += 1
        tally.empty += not answer.success
        tally.absent_scores.append(answer.best_score)
        tally.scores += [o.score for o in answer.objects]
        tally.right += [False] * len(answer.objects)


def ask_synonyms(room: RoomMap, ask: Ask, text: TextEncoder, by_name: Tally, by_synonym: Tally) -> None:
    """Names that have a synonym, asked both ways."""
    for name, things in present(room).items():
        if name in SYNONYMS:
            judge(room, name, ask(name), things, text, by_name)
            judge(room, name, ask(SYNONYMS[name]), things, text, by_synonym)


def ask_colors(room: RoomMap, ask: Ask) -> list[bool]:
    """For things of one name in several colours: is the best answer to "a black chair" a black one?"""
    right = []
    for name, things in present(room).items():
        colors = {t.caption.split()[1]: t for t in things if t.caption.split()[1] in COLORS}
        if len(colors) < 2:
            continue
        for color in colors:
            answer = ask(f"a {color} {name}")
            if answer.objects:
                best = max(things, key=lambda t: iou(answer.objects[0].indices, t.rows))
                right.append(best.caption.split()[1] == color)
            else:
                right.append(False)
    return right
