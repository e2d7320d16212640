"""The services: locate, save_map, load_map, reset_map, set_scale. None but the last waits for the network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from sab3r_ros.errors import Sab3rError
from sab3r_ros.mapping.map_file import load_map, save_map
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.pictures import image_vector
from sab3r_ros.ros import conversions
from sab3r_ros.ros.images import rgb_of
from sab3r_ros.ros.questions import Questions
from sab3r_ros.srv import LoadMap, Locate, ResetMap, SaveMap, SetScale
from sab3r_ros.types import LocateAnswer, MapSnapshot

if TYPE_CHECKING:
    from sab3r_ros.ros.node import MapperNode

ASKED_LATELY_S = 60.0


class Services:
    """Serves a node's map. A failure becomes an answer with `success = false` and a message; the map stays as it was."""

    def __init__(self, node: MapperNode, locator: Locator | None) -> None:
        self.node, self.locator, self.log = node, locator, node.get_logger()
        self._asked = -math.inf
        self._ready: tuple[IncrementalMapper, MapSnapshot] | None = None
        self.questions = Questions(node, locator) if locator is not None else None
        queries, files = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        node.create_service(Locate, "locate", self.on_locate, callback_group=queries)
        node.create_service(SaveMap, "save_map", self.on_save, callback_group=files)
        node.create_service(LoadMap, "load_map", self.on_load, callback_group=files)
        node.create_service(ResetMap, "reset_map", self.on_reset, callback_group=files)
        node.create_service(SetScale, "set_scale", self.on_set_scale, callback_group=files)

    def map_changed(self, mapper: IncrementalMapper) -> None:
        """In the worker's thread, after a window: while people ask, what queries share is computed before the next comes."""
        self._ready = None
        if self.locator is not None and time.monotonic() - self._asked < ASKED_LATELY_S:
            snapshot = mapper.snapshot()
            self.locator.prepare(snapshot)
            self._ready = (mapper, snapshot)
        if self.questions is not None:
            self.questions.map_changed(mapper)

    def map_replaced(self) -> None:
        """Things found in the old map are forgotten."""
        if self.questions is not None:
            self.questions.map_replaced()

    def on_locate(self, request: Locate.Request, response: Locate.Response) -> Locate.Response:
        mapper, ready = self.node.mapper, self._ready
        self._asked = time.monotonic()
        # In the middle of a window the map as the last one left it, which needs no waiting.
        snapshot = ready[1] if ready is not None and ready[0] is mapper else mapper.snapshot()
        header = self.node.outputs.header(mapper)

        def ask() -> LocateAnswer:
            if self.locator is None:
                raise Sab3rError(
                    f"model {mapper.model.identity} cannot answer: it has no language features, or no text encoder is "
                    "installed (the log says which)"
                )
            # A zero field means the default; negative or absurd values are the locator's to refuse.
            least, most = request.min_score or None, request.max_objects or None
            queries, others = [q for q in (request.query, *request.labels) if q.strip()], request.distractors
            if request.image.data:
                if queries:
                    raise Sab3rError("a picture and words were given: ask for one of them")
                vector = image_vector(mapper.model, rgb_of(request.image))
                return self.locator.like(snapshot, vector, "the picture", least, most)
            if request.labels:
                return self.locator.locate_all(snapshot, queries, others, least, most)
            return self.locator.locate(snapshot, request.query, others, least, most)

        answer, problem = self._guarded(ask)
        answer = answer or LocateAnswer(False, problem, (), 0.0)
        response.success, response.message = answer.success, answer.message
        response.best_score = float(answer.best_score)
        response.objects = [conversions.located(o, snapshot, header) for o in answer.objects]
        response.points = conversions.located_cloud(answer.objects, snapshot, header)
        self.node.outputs.publish_located(answer, snapshot, header)
        asked = request.query or ", ".join(request.labels) or "the picture"
        self.log.info(f"locate '{asked[:60]}': {answer.message}")
        return response

    def on_save(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        done, problem = self._guarded(lambda: self.save(self._path(request.path)))
        return self._answered(response, done, problem)

    def on_load(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        done, problem = self._guarded(lambda: self.load(self._path(request.path)))
        return self._answered(response, done, problem)

    def on_reset(self, request: ResetMap.Request, response: ResetMap.Response) -> ResetMap.Response:
        keyframes = self.node.mapper.status().keyframes
        self.node.replace_mapper(self.node.new_mapper())
        response.success, response.message = (
            True,
            f"the map of {keyframes} keyframes is forgotten, a new one begins",
        )
        self.log.info(response.message)
        return response

    def on_set_scale(self, request: SetScale.Request, response: SetScale.Response) -> SetScale.Response:
        """Waits for the window in hand, which would be at another scale."""
        a, b = ((p.x, p.y, p.z) for p in (request.a, request.b))

        def scale() -> str:
            distance = math.dist(a, b)
            factor = request.metres / distance if distance > 0 else math.inf
            with self.node.mapping:
                self.node.mapper.rescale(factor)
            return self._said(f"all lengths of the map are multiplied by {factor:.4f}")

        done, problem = self._guarded(scale)
        return self._answered(response, done, problem)

    def save(self, path: str) -> str:
        """Write the map as it is now, without the window in hand. Raises MapFileError."""
        mapper = self.node.mapper
        model = mapper.model
        while True:  # mapping goes on meanwhile: take both from one version of the map
            snapshot, state = mapper.snapshot(), mapper.state()
            if snapshot.version == mapper.version:
                break
        save_map(path, snapshot, model.identity, model.language, model.feature_basis, state)
        return self._said(f"saved {size_of(mapper)} to {path}")

    def load(self, path: str) -> str:
        """Replace the map by a file's; the map stays as it is unless that succeeds. Raises MapFileError."""
        mapper = self.node.new_mapper()
        saved = load_map(path, for_model=mapper.model.identity)
        mapper.restore(saved.snapshot, saved.state)
        self.node.replace_mapper(mapper)
        return self._said(f"loaded {size_of(mapper)} from {path}")

    def _answered(self, response: Any, done: str | None, problem: str) -> Any:
        if problem:
            self.log.warning(problem)
        response.success, response.message = not problem, done or problem
        return response

    def _path(self, path: str) -> str:
        path = path or self.node.config.map_path
        if not path:
            raise Sab3rError(
                "no path given, and parameter map_path is empty: say where, for example maps/room.sab3r"
            )
        return path

    def _said(self, text: str) -> str:
        self.log.info(text)
        return text

    def _guarded(self, work: Callable):
        """What `work` returns and an empty string, or None and what went wrong. A bug is logged and answered, too."""
        try:
            return work(), ""
        except Sab3rError as error:
            return None, str(error)
        except Exception as error:
            self.node.core_log.exception("a service failed")
            return None, f"internal error, please report it: {type(error).__name__}: {error}"


def size_of(mapper: IncrementalMapper) -> str:
    """'12,345 voxels, 8 keyframes'."""
    status = mapper.status()
    return f"{status.voxels:,} voxels, {status.keyframes} keyframes"
