"""A replay from start to end."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from rclpy.node import Node

from moonseg3r_core import InputError
from moonseg3r_ros.conversions.times import SECOND
from moonseg3r_ros.replay.bag import Bag
from moonseg3r_ros.replay.lockstep import Lockstep, NoLockstep
from moonseg3r_ros.replay.player import BagClock, NoClock, Player
from moonseg3r_ros.replay.topics import BagPublishers
from moonseg3r_ros.topics import find_bag_topics


def replay(node: Node, given: argparse.Namespace) -> None:
    """Publish the bag once, or over and over. Raises InputError for a bag, a topic or a time that does not exist."""
    log = node.get_logger()
    bag = Bag(given.bag, log.warning)
    start = bag.read_first_stamp() + round(given.start * SECOND)
    topics = BagPublishers(node, bag.select_topics(given.topics, with_clock=given.no_clock))
    if next(bag.read(topics.publishers, start), None) is None:
        raise InputError(f"{given.bag} has no message on these topics at or after --start {given.start:g}.")
    lockstep = build_lockstep(node, given, topics.publishers)
    clock = NoClock() if given.no_clock else BagClock(node)
    player = Player(topics.publishers, clock, given.rate, lockstep)
    transforms = bag.merge_static_transforms(topics.static)
    topics.publish(transforms)
    topics.wait(given.wait, given.wait_for or given.lockstep)
    lockstep.connect()
    log.info(f"playing {given.bag} at rate {given.rate:g}: {', '.join(topics.publishers)}")
    while player.play(bag.read(topics.moving, start), start, start + given.duration * SECOND) and given.loop:
        log.info(f"{player.report()}; again from the start")
        topics.publish(transforms)
    log.info(player.report())
    topics.flush()


def build_lockstep(node: Node, given: argparse.Namespace, played: Collection[str]) -> Lockstep | NoLockstep:
    """Build what --lockstep asks for. Raises InputError where no color images are played."""
    if given.lockstep is None:
        return NoLockstep()
    image = find_bag_topics(given.bag, given.robot)["image"]
    if image not in played:
        raise InputError(f"--lockstep waits for the images on {image}, which are not played; add {image} to --topics.")
    return Lockstep(node, image, given.lockstep, given.lockstep_timeout)
