"""Clicked points and standing queries over real DDS."""

from __future__ import annotations

from geometry_msgs.msg import Point, PointStamped
from ros_rig import LATCHED, Rig
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
