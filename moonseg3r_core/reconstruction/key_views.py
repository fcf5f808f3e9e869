"""Key views that a map hangs on: where they lay when it was told, and which have moved since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moonseg3r_core.runtime.state import cpu_copy, read_tensor, require
from moonseg3r_core.types import Corrections, check

MIN_MOVE = 0.01  # metres, of anything that a key view sees; less is left as it is
# Where something may be seen, in depths of the view: before the camera, and to both sides.
_PROBES = ((0.0, 0.0, 0.0), (0.5, 0.4, 1.0), (-0.5, -0.4, 1.0), (0.5, -0.4, 1.0))


@dataclass(frozen=True)
class KeyViews:
    """Key views as they lie now: anchors (n,) int64, rising from 1; places (n, 4, 4) float64, world_from_view with the
    scale that its depths have now; depths (n,) float64, about how far away things are, in the view's first unit.
    """

    anchors: Tensor
    places: Tensor
    depths: Tensor

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("key_views.anchors", self.anchors, ("n",), torch.int64, sizes)
        check("key_views.places", self.places, ("n", 4, 4), torch.float64, sizes)
        check("key_views.depths", self.depths, ("n",), torch.float64, sizes)


class CorrectionLog:
    """Tells each move of key views once, as soon as it is `MIN_MOVE` or more."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all key views."""
        self._anchors = torch.zeros(0, dtype=torch.int64)
        self._places = torch.zeros(0, 4, 4, dtype=torch.float64)

    def update(self, now: KeyViews) -> Corrections:
        """Return the moves of key views since they were last told; new ones have not moved, removed ones never will."""
        known = torch.isin(now.anchors, self._anchors)
        told = now.places.clone()
        told[known] = self._places[torch.isin(self._anchors, now.anchors)]
        far = known & (measure_moves(told, now.places, now.depths) > MIN_MOVE)
        moves = now.places[far] @ torch.linalg.inv(told[far])
        told[far] = now.places[far]
        self._anchors, self._places = now.anchors.clone(), told
        return Corrections(now.anchors[far], moves)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the key views, and where each was last told to lie."""
        return {"anchors": cpu_copy(self._anchors), "places": cpu_copy(self._places)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; older files have none. Raises InputError for an incomplete state."""
        if not state:
            return self.reset()
        sizes: dict[str, int] = {}
        anchors = read_tensor(state, "anchors", ("n",), sizes=sizes)
        require(
            not len(anchors) or (int(anchors[0]) > 0 and bool((anchors.diff() > 0).all())), "anchors must rise from 1"
        )
        self._places = read_tensor(state, "places", ("n", 4, 4), torch.float64, sizes)
        self._anchors = anchors


def measure_moves(old: Tensor, new: Tensor, depths: Tensor) -> Tensor:
    """Measure how far places (n, 4, 4) moved what they see at depths (n,): metres (n,), at most."""
    probes = torch.tensor(_PROBES, dtype=torch.float64).T * depths[:, None, None]
    before, after = (place[:, :3, :3] @ probes + place[:, :3, 3:] for place in (old, new))
    return (after - before).norm(dim=1).amax(1)
