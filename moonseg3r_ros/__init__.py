"""The ROS 2 porch of MoonSeg3R: it translates messages to and from `moonseg3r_core` and computes nothing."""
