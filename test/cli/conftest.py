"""For tests of the command line."""

import cv2
import numpy as np
import pytest

from moonseg3r_core.report import charts

PNG = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes()


@pytest.fixture(autouse=True)
def small_charts(monkeypatch):
    """Reports hold a small picture for each plot, which takes matplotlib a second; tests of processes draw them."""
    for name in ("plot_map", "plot_stage_times"):
        monkeypatch.setattr(charts, name, lambda *_: PNG)
