"""Clicked points and standing queries over real DDS."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, PointStamped
from oracle import walk
from ros_rig import LATCHED, Rig, image_message
from sab3r_ros.msg import LocatedObject
from sab3r_ros.srv import Locate
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray


def test_a_clicked_point_is_named_and_shown():
    with Rig() as rig:
        clicks = rig.peer.create_publisher(PointStamped, "clicked_point", 10)
        markers = rig.watch(MarkerArray, "located_markers", LATCHED)
        rig.mapped()
        rig.wait(clicks.get_subscription_count)
        best = rig.call(Locate, "locate", query="box 2")[0].objects[0]
        shown = len(markers)
        clicks.publish(PointStamped(header=Header(frame_id="map"), point=best.centroid))
        rig.hear("clicked_point", "this looks like")
        rig.wait(lambda: len(markers) > shown)
        clicks.publish(PointStamped(header=Header(frame_id="map"), point=Point(x=90.0)))
        rig.hear("clicked_point", "point at a thing")
        clicks.publish(PointStamped(header=Header(frame_id="base_link"), point=best.centroid))
        rig.hear("clicked_point", "base_link", "'map'")


def test_what_is_watched_for_is_reported_once():
    with Rig() as rig:
        wishes = rig.peer.create_publisher(String, "watch", 10)
        found = rig.watch(LocatedObject, "watched", 10)
        rig.wait(wishes.get_subscription_count)
        wishes.publish(String(data="box 2"))
        rig.hear("watching for 'box 2'")
        rig.mapped()
        rig.wait(lambda: found)
        assert found[0].label == "box 2" and found[0].num_points > 0
        wishes.publish(String(data=""))
        rig.hear("watching for nothing")
        wishes.publish(String(data="x" * 2000))
        rig.hear("watch:", "2000 characters")


def test_labels_and_a_picture_are_asked_by_the_service():
    with Rig() as rig:
        rig.mapped()
        both = rig.call(Locate, "locate", labels=["box 2", "box 3", "bathtub"])[0]
        assert both.success and {o.label for o in both.objects} == {"box 2", "box 3"}
        assert "0 'bathtub'" in both.message
        refused = rig.call(
            Locate, "locate", query="box 2", image=image_message(np.zeros((8, 8, 3), np.uint8), 0.0)
        )[0]
        assert not refused.success and "a picture and words" in refused.message
        seen = rig.call(Locate, "locate", image=image_message(rig.world.image(walk(1)[0]), 0.0))[0]
        assert "the picture" in seen.message
