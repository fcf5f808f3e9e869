"""MoonSeg3R: online monocular zero-shot 3D instance segmentation. The ROS-free core."""

__version__ = "0.1.0"
