"""Other ways to ask than the service: a point clicked in RViz, and things to watch for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from std_msgs.msg import String

from sab3r_ros.errors import Sab3rError
from sab3r_ros.mapping.mapper import IncrementalMapper
from sab3r_ros.msg import LocatedObject as LocatedObjectMsg
from sab3r_ros.querying.locate import Locator
from sab3r_ros.querying.standing import StandingQueries
from sab3r_ros.ros import conversions
from sab3r_ros.types import LocatedObject, MapSnapshot

if TYPE_CHECKING:
    from sab3r_ros.ros.node import MapperNode


class Questions:
    """`clicked_point`: what is there, and where else? Shown as located objects. `watch`: a query that stays; each thing
    that it finds is published once on `watched`. An empty `watch` ends all.
    """

    def __init__(self, node: MapperNode, locator: Locator) -> None:
        self.node, self.locator, self.log = node, locator, node.get_logger()
        self.standing = StandingQueries(locator)
        group = MutuallyExclusiveCallbackGroup()
        node.create_subscription(PointStamped, "clicked_point", self.on_point, 10, callback_group=group)
        node.create_subscription(String, "watch", self.on_watch, 10, callback_group=group)
        self.watched = node.create_publisher(LocatedObjectMsg, "watched", 10)

    def on_point(self, msg: PointStamped) -> None:
        frame, expected = msg.header.frame_id, self.node.config.map_frame
        if frame != expected:
            self.log.warning(f"clicked_point is in frame '{frame}': set RViz's fixed frame to '{expected}'")
            return
        mapper = self.node.mapper
        snapshot, header = mapper.snapshot(), self.node.outputs.header(mapper)
        try:
            answer = self.locator.at_point(snapshot, np.array([msg.point.x, msg.point.y, msg.point.z]))
        except Sab3rError as error:
            self.log.warning(f"clicked_point: {error}")
            return
        self.node.outputs.publish_located(answer, snapshot, header)
        self.log.info(f"clicked_point: {answer.message}")

    def on_watch(self, msg: String) -> None:
        try:
            if not msg.data.strip():
                self.standing.clear()
                self.log.info("watching for nothing any more")
                return
            self.standing.add(msg.data, self._report)
        except Sab3rError as error:
            self.log.warning(f"watch: {error}")
            return
        self.log.info(f"watching for '{msg.data}': each one is published on {self.watched.topic_name}")
        self.map_changed(self.node.mapper)

    def map_changed(self, mapper: IncrementalMapper) -> None:
        """Look for what is watched for; free while that is nothing."""
        if self.standing:
            self.standing.update(mapper.snapshot())

    def map_replaced(self) -> None:
        """Things of the old map are not met again."""
        self.locator.memory.forget()
        self.standing.start_anew()

    def _report(self, query: str, objects: tuple[LocatedObject, ...], snapshot: MapSnapshot) -> None:
        header = self.node.outputs.header(self.node.mapper)
        for o in objects:
            self.watched.publish(conversions.located(o, snapshot, header))
            self.log.info(f"watch: '{query}' came into the map, thing {o.id}, score {o.score:.2f}")
