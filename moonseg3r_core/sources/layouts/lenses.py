"""Say what a lens model means for a pinhole camera: nothing, an error near the borders, or no use at all."""

from __future__ import annotations

from collections.abc import Sequence

WIDE = ("fisheye", "equidistant", "equirectangular", "fov", "omni", "kannala", "double_sphere", "eucm")


def describe_lens(
    model: str, coefficients: Sequence[float], remedy: str = "undistort the images"
) -> tuple[bool, tuple[str, ...]]:
    """Return whether the intrinsics can be used as a pinhole's, and what a user has to know."""
    if any(word in model.lower() for word in WIDE):
        return False, (f"the lens is a fisheye ({model}); images come without intrinsics; {remedy} to have them",)
    if any(value != 0 for value in coefficients):
        return True, (f"lens distortion is ignored; {remedy} to be exact",)
    return True, ()
