"""What a query asks for: the thing, its colour and size, a part of it, and where it is in relation to another."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sab3r_ros.querying.text import normalise

COLORS = (
    "black", "white", "grey", "red", "green", "blue", "yellow", "orange", "brown", "beige", "pink", "purple",
)  # fmt: skip
COLOR_WORDS = {c: c for c in COLORS} | {
    "gray": "grey",
    "silver": "grey",
    "violet": "purple",
    "cream": "beige",
    "golden": "yellow",
    "dark": "black",
}

# Adjective → which end of the candidates' order is meant, and by what they are ordered.
SIZE_WORDS = (
    dict.fromkeys(("big", "bigger", "biggest", "large", "larger", "largest", "huge", "great"), ("volume", 1))
    | dict.fromkeys(("small", "smaller", "smallest", "little", "tiny"), ("volume", -1))
    | dict.fromkeys(("tall", "taller", "tallest"), ("height", 1))
    | dict.fromkeys(("low", "lower", "lowest"), ("height", -1))
    | dict.fromkeys(("long", "longer", "longest", "wide", "widest"), ("length", 1))
    | dict.fromkeys(("narrow", "narrowest"), ("length", -1))
)
SUPERLATIVE = re.compile(r"est$")

PARTS = [
    "arm",
    "armrest",
    "back",
    "backrest",
    "base",
    "bottom",
    "corner",
    "door",
    "drawer",
    "edge",
    "end",
    "front",
    "handle",
    "headrest",
    "leg",
    "legs",
    "lid",
    "part",
    "rest",
    "screen",
    "seat",
    "shade",
    "side",
    "surface",
    "top",
]

# Longest first: "on top of" before "on". The word that follows may be an article.
RELATIONS = {
    "nearest": ("nearest to", "closest to", "nearest", "closest"),
    "farthest": ("farthest from", "furthest from", "farthest away from", "furthest away from"),
    "between": ("between", "in between"),
    "under": ("underneath", "under", "below", "beneath"),
    "above": ("above", "over"),
    "near": ("next to", "close to", "beside", "alongside", "adjacent to", "near to", "near", "by", "at"),
    "front": ("in front of",),
    "behind": ("behind", "in back of"),
    "left": ("to the left of", "on the left of", "left of"),
    "right": ("to the right of", "on the right of", "right of"),
    "on": ("on top of", "on", "upon", "atop"),
    "in": ("inside of", "inside", "within", "in"),
}
RELATION_OF = {words: relation for relation, phrases in RELATIONS.items() for words in phrases}
ANY_RELATION = "|".join(sorted(map(re.escape, RELATION_OF), key=len, reverse=True))

ASKING = re.compile(
    r"^(please |can you |could you )*"
    r"(where (is|are|'s)|where's|find( me)?|show( me)?|locate|look for|search for|i am looking for|i'm looking for"
    r"|i want|get me|is there|are there|which is|what is)\s+"
)
EVERYWHERE = re.compile(
    r"\s+(in|of|inside) (the|this|my) (room|house|map|scene|flat|place|world)$|\s+please$"
)
STANDING = re.compile(
    r"\s+(that is|that are|which is|which are|standing|lying|sitting|hanging|placed|located|leaning)$"
)
UNCHANGED_PLURALS = frozenset(
    [
        "blinds",
        "scissors",
        "headphones",
        "clothes",
        "stairs",
        "trousers",
        "glasses",
        "books",
        "papers",
        "things",
        "drawers",
        "servers",
        "shelves",
        "bus",
        "pants",
        "jeans",
        "shorts",
        "sunglasses",
        "earphones",
        "binoculars",
        "pliers",
        "tongs",
    ]
)


@dataclass(frozen=True)
class Request:
    """A query, understood as far as possible.

    label: all of it, normalised. thing: the noun phrase to score, without colour, size and place. color: a word of
    COLORS or "". size: (what, 1 for much or −1 for little) or None. superlative: only the extreme one is meant.
    part: of the thing, or "". relation: a key of RELATIONS or "", and its anchors: one, two for "between".
    """

    label: str
    thing: str
    color: str = ""
    size: tuple[str, int] | None = None
    superlative: bool = False
    part: str = ""
    relation: str = ""
    anchors: tuple[str, ...] = ()
    place: str = ""

    @property
    def named(self) -> str:
        """The thing with its colour: "black office chair"."""
        return f"{self.color} {self.thing}".strip()


def parse(query: str) -> Request:
    """A query in words → what it asks for. What is not understood stays in the thing's name."""
    label = normalise(query)
    text = normalise(ASKING.sub("", label))
    while (shorter := EVERYWHERE.sub("", text)) != text:
        text = shorter
    text = normalise(text) or label
    head, relation, anchors, place = split_relation(text)
    part = ""
    if match := re.match(rf"^({'|'.join(PARTS)})s? of (?:the |a |an |my )?(.+)$", head):
        part, head = match.groups()
    thing, color, size, superlative = split_adjectives(head)
    return Request(label, singular(thing), color, size, superlative, part, relation, anchors, place)


def split_relation(text: str) -> tuple[str, str, tuple[str, ...], str]:
    """ "lamp on the desk" → ("lamp", "on", ("desk",), "on the desk"). Without a relation: (text, "", (), "")."""
    if match := re.match(r"^(nearest|closest|farthest|furthest) (.+?) (?:to|from) (.+)$", text):
        how = "nearest" if match[1] in ("nearest", "closest") else "farthest"
        return match[2], how, (normalise(match[3]),), f"{match[1]} to {match[3]}"
    match = re.match(rf"^(.+?) ({ANY_RELATION}) (.+)$", text)
    if not match:
        return text, "", (), ""
    head, words, anchor = STANDING.sub("", match[1]), match[2], match[3]
    relation = RELATION_OF[words]
    names = re.split(r" and (?:the |a |an )?", anchor, maxsplit=1) if relation == "between" else [anchor]
    anchors = tuple(split_adjectives_back(name) for name in map(normalise, names))
    return head, relation, anchors, f"{words} {anchor}"


def split_adjectives_back(anchor: str) -> str:
    """An anchor's own place is dropped: "desk by the window" → "desk"."""
    return re.split(rf" (?:{ANY_RELATION}) ", anchor, maxsplit=1)[0]


def split_adjectives(phrase: str) -> tuple[str, str, tuple[str, int] | None, bool]:
    """Leading colours and sizes off a noun phrase: (thing, colour, size, superlative). At least one word stays."""
    color, size, superlative = "", None, False
    words = phrase.replace(",", " ").split()
    while len(words) > 1:
        first = words[0]
        if (first in ("light", "bright", "pale", "very", "and") and len(words) > 2) or (
            first == "dark" and words[1] in COLOR_WORDS and len(words) > 2
        ):
            pass
        elif first in COLOR_WORDS:
            color = color or COLOR_WORDS[first]
        elif first in SIZE_WORDS:
            size, superlative = SIZE_WORDS[first], bool(SUPERLATIVE.search(first))
        else:
            break
        words = words[1:]
    return " ".join(words), color, size, superlative


def singular(thing: str) -> str:
    """ "office chairs" → "office chair". Names with "of" and words that are always plural stay."""
    *rest, last = thing.split(" ")
    if "of" in rest or last in UNCHANGED_PLURALS or len(last) < 4 or not last.endswith("s"):
        return thing
    if last.endswith(("ss", "us", "is", "as")):
        return thing
    for ending, one in (
        ("elves", "elf"),
        ("ies", "y"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("sses", "ss"),
        ("xes", "x"),
    ):
        if last.endswith(ending):
            return " ".join([*rest, last[: -len(ending)] + one])
    return " ".join([*rest, last[:-1]])
