"""Compare the AP of this package with golden cases: `python tools/parity_ap.py FOLDER`.

FOLDER has *.npz with gt, pred (N,), pred_ids, scores (P,), thresholds (10,), ap_per_threshold (10,), ap, ap50, ap25.
Prints each case's worst difference; exits with 1 where one is above 1e-9, with 2 where there is no case.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from moonseg3r_core.evaluation.metrics.average_precision import THRESHOLDS, average_precision, match_scene

TOLERANCE = 1e-9


def find_worst_difference(path: Path) -> float:
    """Find the largest difference between the numbers of a case and ours."""
    case = np.load(path)
    scene = match_scene(case["gt"], case["pred"], dict(zip(case["pred_ids"].tolist(), case["scores"], strict=True)))
    ours = average_precision([scene])
    pairs = [(case["thresholds"], THRESHOLDS), (case["ap_per_threshold"], ours.per_threshold)]
    pairs += [(case["ap"], ours.ap), (case["ap50"], ours.ap50), (case["ap25"], ours.ap25)]
    differences = [
        np.where(np.isnan(golden) & np.isnan(own), 0.0, np.nan_to_num(np.abs(np.subtract(golden, own)), nan=np.inf))
        for golden, own in pairs
    ]
    return max(float(difference.max()) for difference in differences)


def main(arguments: list[str]) -> int:
    """Print the differences of all cases and return the exit status."""
    cases = sorted(Path(arguments[0]).glob("*.npz"), key=lambda p: (len(p.stem), p.stem)) if len(arguments) == 1 else []
    if not cases:
        print("expected one folder that holds *.npz cases; usage: python tools/parity_ap.py FOLDER", file=sys.stderr)
        return 2
    differences = {path.stem: find_worst_difference(path) for path in cases}
    print(f"{'case':<12} worst difference")
    for name, difference in differences.items():
        print(f"{name:<12} {difference:.2e}{'' if difference <= TOLERANCE else '  DIFFERS'}")
    return int(max(differences.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
