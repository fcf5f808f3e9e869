"""A replay from its first message to its last."""

from __future__ import annotations

import argparse

from rclpy.node import Node

from moonseg3r_core import InputError
from moonseg3r_ros.replay.bag import Bag
from moonseg3r_ros.replay.player import SECOND, BagClock, NoClock, Player
from moonseg3r_ros.replay.topics import Outlets


def replay(node: Node, given: argparse.Namespace) -> None:
    """Publish the bag once, or over and over. Raises InputError for a bag, a topic or a time that is not there."""
    log = node.get_logger()
    bag = Bag(given.bag, log.warning)
    start = bag.first_stamp() + round(given.start * SECOND)
    outlets = Outlets(node, bag.topics(given.topics, with_clock=given.no_clock))
    if next(bag.messages(outlets.publishers, start), None) is None:
        raise InputError(f"{given.bag} has no message on these topics at or after --start {given.start:g}.")
    player = Player(outlets.publishers, NoClock() if given.no_clock else BagClock(node), given.rate)
    transforms = bag.static_transforms(outlets.static)
    outlets.publish(transforms)
    outlets.wait(given.wait, given.wait_for)
    log.info(f"playing {given.bag} at rate {given.rate:g}: {', '.join(outlets.publishers)}")
    while player.play(bag.messages(outlets.moving, start), start, start + given.duration * SECOND) and given.loop:
        log.info(f"{player.report()}; again from the start")
        outlets.publish(transforms)
    log.info(player.report())
    outlets.flush()
