"""What bench/locate.py does room by room, spread over processes. A room's result does not depend on how many there are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import torch
from locate_judge import Tally, absent, ask_colors, ask_room, ask_synonyms, present
from locate_maps import RoomMap, caption_map, full_map, predicted_map
from locate_rules import PEERS, PlainCosine, peer
from tqdm import tqdm

from sab3r_ros.config import LocateConfig, MapperConfig
from sab3r_ros.model.feature_model import FeatureModel, load_model
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.text import TextEncoder, load_text_encoder
from sab3r_ros.training.shards import Shard, Vocabulary

Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass(frozen=True)
class Rule:
    """What answers: the locator with a configuration, or a peer (of PEERS) with the threshold of it."""

    config: LocateConfig
    peer: str = ""

    def locator(self, room: RoomMap) -> Locator | PlainCosine:
        if not self.peer:
            return Locator(room.basis, text(), self.config)
        names = (*present(room), *absent(room, [], text()), "wall", "floor", "ceiling")
        return peer(PEERS[self.peer], room.basis, text(), self.config.min_score, names)  # softmax over names


@cache
def text() -> TextEncoder:
    return load_text_encoder("minilm-l6-v2")


@cache
def model(name: str) -> FeatureModel:
    return load_model(name, "cpu")


@cache
def shard(folder: Path, size: tuple[int, int]) -> Shard:
    return Shard(folder, Vocabulary(), size)


def built(room: tuple[int, int], kind: str, folder: Path, size: tuple[int, int], name: str) -> RoomMap:
    """The map of frames a..b of a folder: of "captions", "features" or "images"."""
    whole = shard(folder, size)
    if kind == "captions":
        return caption_map(whole, *room, text())
    if kind == "features":
        return predicted_map(whole, *room, model(name))
    return full_map(whole, *room, model(name), MapperConfig())


def asked(room: RoomMap, rules: Sequence[Rule], names: list[str]) -> list[Tally]:
    """Every rule's answers in a room. names: of things in all rooms."""
    tallies = [Tally() for _ in rules]
    for rule, tally in zip(rules, tallies, strict=True):
        ask_room(room, partial(rule.locator(room).locate, room.snapshot), names, text(), tally)
    return tallies


def asked_synonyms(room: RoomMap, config: LocateConfig) -> tuple[Tally, Tally]:
    by_name, by_synonym = Tally(), Tally()
    locator = Locator(room.basis, text(), config)
    ask_synonyms(room, partial(locator.locate, room.snapshot), text(), by_name, by_synonym)
    return by_name, by_synonym


def asked_colors(room: RoomMap, config: LocateConfig) -> list[bool]:
    return ask_colors(room, partial(Locator(room.basis, text(), config).locate, room.snapshot))


def together(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole = Tally(*(getattr(whole, f.name) + getattr(tally, f.name) for f in fields(Tally)))
    return whole


class Workers:
    """Processes that work on rooms, each with one thread. name: of the network."""

    def __init__(self, processes: int, name: str) -> None:
        spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._pool = ProcessPoolExecutor(processes, spawn, torch.set_num_threads, (1,))
        self._name = name

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[[Item], Result], items: Sequence[Item], label: str) -> Iterator[Result]:
        """The results, in order."""
        yield from tqdm(self._pool.map(function, items), desc=label, total=len(items), disable=None)

    def maps(self, kind: str, folder: Path, limit: int, size: tuple[int, int]) -> list[RoomMap]:
        """`built` of the first rooms that show furniture."""
        rooms = list(shard(folder, size)._rooms(0))[:limit]
        build = partial(built, kind=kind, folder=folder, size=size, name=self._name)
        return [room for room in self.each(build, rooms, f"{folder.name}, {kind}") if room.things]

    def tallies(self, rooms: list[RoomMap], rules: Sequence[Rule], names: list[str]) -> list[Tally]:
        """Of each rule, over all rooms."""
        per_room = self.each(partial(asked, rules=rules, names=names), rooms, "asking")
        return [together(column) for column in zip(*per_room, strict=True)] or [Tally() for _ in rules]
