"""Compute one colour per instance id: golden-angle hues in OKLCH with six steps of lightness."""

from __future__ import annotations

import numpy as np

UNLABELLED = (168, 168, 168)
_GOLDEN_ANGLE = 137.50776405
# Six steps: ids a Fibonacci number apart have nearly one hue, and 6 divides none of 8, 13, 21, 34, 55, 89.
_LIGHTNESS = np.array([0.86, 0.55, 0.61, 0.67, 0.74, 0.80])
_CHROMA = 0.145


def compute_colors(ids: np.ndarray) -> np.ndarray:
    """Compute RGB (..., 3) uint8 of instance ids (...); 0 is grey. Neighbouring ids differ in hue and lightness.

    The lightness separates colours of equal hue for colour-blind readers. OKLCH: Ottosson 2020.
    """
    ids = np.asarray(ids, dtype=np.int64)
    hue = np.deg2rad(ids * _GOLDEN_ANGLE + 20.0)
    rgb = _convert_oklab_to_srgb(_LIGHTNESS[ids % 6], _CHROMA * np.cos(hue), _CHROMA * np.sin(hue))
    return np.where((ids > 0)[..., None], np.rint(255 * rgb), UNLABELLED).astype(np.uint8)


def format_hex_color(id: int) -> str:
    """Format the colour of an id for HTML."""
    return "#" + bytes(compute_colors(np.array(id))).hex()


def _convert_oklab_to_srgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Convert OKLab to sRGB (..., 3) in [0, 1], clipped to the gamut."""
    cone = np.array([[0.3963377774, 0.2158037573], [-0.1055613458, -0.0638541728], [-0.0894841775, -1.2914855480]])
    linear_from_cone = np.array([
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ])  # fmt: skip
    lms = (lightness[..., None] + np.stack((a, b), axis=-1) @ cone.T) ** 3
    linear = np.clip(lms @ linear_from_cone.T, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
