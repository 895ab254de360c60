r"""Rooms: generated indoor scenes in ScanNet's raw layout, to try the pipeline on."""

from latentgraph.scannet.rooms.generate import make_scene
from latentgraph.scannet.rooms.raw import write_scan
from latentgraph.scannet.rooms.release import rooms_settings, write_rooms
from latentgraph.scannet.rooms.scene import Scene

__all__ = ["Scene", "make_scene", "rooms_settings", "write_rooms", "write_scan"]
