"""MoonSeg3R as a ROS 2 node: it translates between topics and the ROS-free core, and contains no part of the method."""

import os

# Before torch is imported: threads that wait must sleep, else they take the cores from the rest of the robot.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
