"""The data that passes between the stages: frozen dataclasses of torch tensors.

They are checked once, when made, by shape and dtype and never by value (no device sync).
One letter means one thing: `H W` image, `h w` feature grid, `M` masks in a frame, `K` instances,
`Q` recalled queries, `S` state tokens, `D` query width, `V` visible keys, `N` points.
Metres, seconds, RGB uint8. Poses are `world_from_camera` (4, 4) float64, OpenCV camera axes
(x right, y down, z forward). Instance id: int >= 1, never reused; 0 = unlabelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Size = int | str  # a number is that size, a letter is any size but the same one throughout a call


def check(name: str, tensor: object, shape: Sequence[Size], dtype: torch.dtype, sizes: dict[str, int]) -> None:
    """Check the shape and dtype of one tensor; letters met for the first time are bound in `sizes`.

    Raises ValueError.
    """
    wanted = tuple(sizes.get(s, s) if isinstance(s, str) else s for s in shape)
    words = "(" + ", ".join(str(s) for s in wanted) + ")"
    if not isinstance(tensor, Tensor):
        raise ValueError(
            f"{name} must be a {words} torch tensor, got {type(tensor).__name__}; wrap it with torch.as_tensor."
        )
    fits = len(tensor.shape) == len(wanted) and all(
        isinstance(w, str) or w == g for w, g in zip(wanted, tensor.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must be {words}, got {tuple(tensor.shape)}; bring it to that shape where it is made.")
    if tensor.dtype != dtype:
        raise ValueError(f"{name} must be {dtype}, got {tensor.dtype}; convert it with .to({dtype}).")
    sizes.update((letter, got) for letter, got in zip(wanted, tensor.shape, strict=True) if isinstance(letter, str))


@dataclass(frozen=True)
class TrajectoryMoves:
    """A trajectory that others corrected: stamps (n,) float64 seconds, rising, and new_from_old (n, 4, 4) float64, rigid,
    which carries what was seen at each from its former place in the world to the new one.
    """

    stamps: Tensor
    new_from_old: Tensor

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("moves.stamps", self.stamps, ("n",), torch.float64, sizes)
        check("moves.new_from_old", self.new_from_old, ("n", 4, 4), torch.float64, sizes)

    def __len__(self) -> int:
        return self.stamps.shape[0]

    @classmethod
    def empty(cls) -> TrajectoryMoves:
        """Make the moves of a trajectory that stays."""
        return cls(torch.zeros(0, dtype=torch.float64), torch.zeros(0, 4, 4, dtype=torch.float64))


@dataclass(frozen=True)
class Frame:
    """One image, with the depth, intrinsics and pose that the recording has for it.

    image (H, W, 3) uint8 RGB; depth (H, W) float32 metres along z, 0 = none; intrinsics (3, 3) float32
    pixels with pixel i's centre at u = i; world_from_camera (4, 4) float64. `index` is the source's own frame number;
    `moves` say how the poses of former frames were corrected since.
    """

    index: int
    stamp: float
    image: Tensor
    depth: Tensor | None = None
    intrinsics: Tensor | None = None
    world_from_camera: Tensor | None = None
    moves: TrajectoryMoves = field(default_factory=TrajectoryMoves.empty)

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("frame.image", self.image, ("H", "W", 3), torch.uint8, sizes)
        if not self.image.numel():
            raise ValueError(f"frame.image must have pixels, got {tuple(self.image.shape)}; leave empty images out.")
        if self.depth is not None:
            check("frame.depth", self.depth, ("H", "W"), torch.float32, sizes)
        if self.intrinsics is not None:
            check("frame.intrinsics", self.intrinsics, (3, 3), torch.float32, sizes)
        if self.world_from_camera is not None:
            check("frame.world_from_camera", self.world_from_camera, (4, 4), torch.float64, sizes)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def host_image(self) -> np.ndarray:
        """Return the image (H, W, 3) uint8 on the CPU, downloaded once."""
        return self.image.cpu().numpy()

    def to(self, device: torch.device | str) -> Frame:
        """Return the same frame on a device; the pose stays on its own."""
        if self.image.device == torch.device(device):
            return self
        depth, intrinsics = (None if t is None else t.to(device) for t in (self.depth, self.intrinsics))
        moved = replace(self, image=self.image.to(device), depth=depth, intrinsics=intrinsics)
        moved.__dict__["host_image"] = self.host_image  # a frozen dataclass has no other way to take the copy over
        return moved


@dataclass(frozen=True)
class PixelGrid:
    """The place of a geometry's pixels in the input image: u_image = scale_u * u + offset_u, and so for v.

    A reconstruction that resizes and crops (CUT3R) returns points on its own grid; RGB-D's grid is the image's.
    """

    height: int
    width: int
    scale_u: float = 1.0
    scale_v: float = 1.0
    offset_u: float = 0.0
    offset_v: float = 0.0

    def is_image(self, size: tuple[int, int]) -> bool:
        """Return whether this grid is the image's own, of `size` (H, W)."""
        return self == PixelGrid(*size)


@dataclass(frozen=True)
class FeatureMap:
    """Features on a coarse grid: features (h, w, C) float32, laid evenly over an image of `size` (H, W), or, where that
    is None, over the geometry's own pixels.
    """

    features: Tensor
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check("feature_map.features", self.features, ("h", "w", "C"), torch.float32, {})

    @classmethod
    def empty(cls, h: int = 0, w: int = 0, device: torch.device | str = "cpu") -> FeatureMap:
        """Make a map without channels."""
        return cls(torch.zeros(h, w, 0, device=device))


@dataclass(frozen=True)
class Held:
    """Why a frame has no points of its own: a reason by which frames are counted, and the detail of this frame."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True)
class Corrections:
    """Key views that moved: anchors (m,) int64, once each and never 0, and new_from_old (m, 4, 4) float64, the
    similarity that carries what hangs on each from its former place in the world to the new one.
    """

    anchors: Tensor
    new_from_old: Tensor

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("corrections.anchors", self.anchors, ("m",), torch.int64, sizes)
        check("corrections.new_from_old", self.new_from_old, ("m", 4, 4), torch.float64, sizes)

    def __len__(self) -> int:
        return self.anchors.shape[0]

    @classmethod
    def empty(cls) -> Corrections:
        """Make the corrections of a frame before which nothing moved."""
        return cls(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4, 4, dtype=torch.float64))


@dataclass(frozen=True)
class Geometry:
    """The reconstruction of a frame (paper eq 1): X_t, P_t, F3d_t, A_t.

    points (H, W, 3) float32 world metres; confidence (H, W) float32, 0 = no point there; depth (H, W) float32 metres
    along the camera's z, 0 = none; world_from_camera (4, 4) float64; intrinsics (3, 3) float32 of this grid;
    features F3d (h, w, C), laid evenly over this grid, or None; state_attention A (S, h, w) float32, likewise;
    image_features (h, w, C) of the reconstruction's own image encoder, likewise.
    `held` is the reason why a frame has no points of its own and keeps the last good pose; None for all others.
    `anchor` is the number of the key view that the points hang on, 0: nothing ever moves them. `corrections` are the key
    views that moved since the frame before; whoever keeps places applies them first.
    """

    points: Tensor
    confidence: Tensor
    depth: Tensor
    world_from_camera: Tensor
    intrinsics: Tensor
    grid: PixelGrid
    features: FeatureMap | None = None
    state_attention: Tensor | None = None
    image_features: FeatureMap | None = None
    held: Held | None = None
    anchor: int = 0
    corrections: Corrections = field(default_factory=Corrections.empty)

    def __post_init__(self) -> None:
        sizes = {"H": self.grid.height, "W": self.grid.width}
        check("geometry.points", self.points, ("H", "W", 3), torch.float32, sizes)
        check("geometry.confidence", self.confidence, ("H", "W"), torch.float32, sizes)
        check("geometry.depth", self.depth, ("H", "W"), torch.float32, sizes)
        check("geometry.world_from_camera", self.world_from_camera, (4, 4), torch.float64, sizes)
        check("geometry.intrinsics", self.intrinsics, (3, 3), torch.float32, sizes)
        if self.state_attention is not None:
            check("geometry.state_attention", self.state_attention, ("S", "h", "w"), torch.float32, sizes)

    @cached_property
    def valid(self) -> Tensor:
        """(H, W) bool: where there is a point."""
        return self.confidence > 0

    @property
    def device(self) -> torch.device:
        return self.points.device

    @classmethod
    def empty(cls, height: int = 0, width: int = 0, device: torch.device | str = "cpu") -> Geometry:
        """Make a frame without points, at the world's origin."""
        zeros = torch.zeros(height, width, device=device)
        return cls(
            torch.zeros(height, width, 3, device=device), zeros, zeros, torch.eye(4, dtype=torch.float64),
            torch.eye(3, device=device), PixelGrid(height, width),
        )  # fmt: skip


@dataclass(frozen=True)
class MaskProposals:
    """2D masks of one frame: masks (M, H, W) bool at the image's size, scores (M,) float32."""

    masks: Tensor
    scores: Tensor

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("proposals.masks", self.masks, ("M", "H", "W"), torch.bool, sizes)
        check("proposals.scores", self.scores, ("M",), torch.float32, sizes)

    def __len__(self) -> int:
        return self.masks.shape[0]

    @classmethod
    def empty(cls, height: int, width: int, device: torch.device | str = "cpu") -> MaskProposals:
        """Make proposals without masks."""
        return cls(torch.zeros(0, height, width, dtype=torch.bool, device=device), torch.zeros(0, device=device))


@dataclass(frozen=True)
class Recalled:
    """Past queries visible from a pose (eq 9): queries (Q, D) float32; index_map (H, W) int32, a row of the visible
    keys or -1; the queries of visible key v are members[offsets[v]:offsets[v + 1]], columns of 0..Q-1,
    offsets (V + 1,) int64, members (any,) int64.
    """

    queries: Tensor
    index_map: Tensor
    offsets: Tensor
    members: Tensor

    def __post_init__(self) -> None:
        check("recalled.queries", self.queries, ("Q", "D"), torch.float32, {})
        check("recalled.index_map", self.index_map, ("H", "W"), torch.int32, {})
        check("recalled.offsets", self.offsets, ("V+1",), torch.int64, {})
        check("recalled.members", self.members, ("members",), torch.int64, {})

    def __len__(self) -> int:
        return self.queries.shape[0]

    @classmethod
    def empty(cls, width: int = 0, size: tuple[int, int] = (0, 0), device: torch.device | str = "cpu") -> Recalled:
        """Make a recall without queries: zero queries of `width`, an index map of -1."""
        return cls(
            torch.zeros(0, width, device=device),
            torch.full(size, -1, dtype=torch.int32, device=device),
            torch.zeros(1, dtype=torch.int64, device=device),
            torch.zeros(0, dtype=torch.int64, device=device),
        )


@dataclass(frozen=True)
class Queries:
    """A frame's partial 3D masks, each with its query; fusion merges and matches them.

    features (M, D) float32 (eq 2-4); labels (H, W) int32 on the geometry's grid, 0 = none, m + 1 = row m;
    areas (M,) int64, pixels with a point; boxes (M, 2, 3) float32 world min and max, NaN where a mask has no point;
    state_tokens (M, S) float32 (eq 11) or None where the reconstruction has no state; scores (M,) float32.
    """

    features: Tensor
    labels: Tensor
    areas: Tensor
    boxes: Tensor
    scores: Tensor
    state_tokens: Tensor | None = None

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("queries.features", self.features, ("M", "D"), torch.float32, sizes)
        check("queries.labels", self.labels, ("H", "W"), torch.int32, sizes)
        check("queries.areas", self.areas, ("M",), torch.int64, sizes)
        check("queries.boxes", self.boxes, ("M", 2, 3), torch.float32, sizes)
        check("queries.scores", self.scores, ("M",), torch.float32, sizes)
        if self.state_tokens is not None:
            check("queries.state_tokens", self.state_tokens, ("M", "S"), torch.float32, sizes)

    def __len__(self) -> int:
        return self.features.shape[0]

    @classmethod
    def empty(cls, height: int = 0, width: int = 0, channels: int = 0, device: torch.device | str = "cpu") -> Queries:
        """Make the queries of a frame without masks."""
        return cls(
            torch.zeros(0, channels, device=device),
            torch.zeros(height, width, dtype=torch.int32, device=device),
            torch.zeros(0, dtype=torch.int64, device=device),
            torch.zeros(0, 2, 3, device=device),
            torch.zeros(0, device=device),
        )


@dataclass(frozen=True)
class Assignment:
    """The instance of each query: instance_ids (M,) int64 >= 1, new ids included; is_new (M,) bool;
    similarity (M,) float32 of the match, 0 for a new one.
    """

    instance_ids: Tensor
    is_new: Tensor
    similarity: Tensor

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("assignment.instance_ids", self.instance_ids, ("M",), torch.int64, sizes)
        check("assignment.is_new", self.is_new, ("M",), torch.bool, sizes)
        check("assignment.similarity", self.similarity, ("M",), torch.float32, sizes)

    def __len__(self) -> int:
        return self.instance_ids.shape[0]

    def ids_of(self, labels: Tensor) -> Tensor:
        """Return the instance ids (H, W) int64 of labels (H, W) int32 as in `Queries`, 0 = none."""
        ids = torch.cat((self.instance_ids.new_zeros(1), self.instance_ids))
        return ids.index_select(0, labels.flatten()).view(labels.shape)

    @classmethod
    def empty(cls) -> Assignment:
        """Make an assignment of no queries."""
        return cls(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool), torch.zeros(0))


@dataclass(frozen=True)
class FrameResult:
    """The result of one step: instance_ids (H, W) int32 at the image's size, the geometry, the assignment,
    and the milliseconds of each stage.
    """

    index: int
    stamp: float
    instance_ids: Tensor
    geometry: Geometry
    assignment: Assignment
    stage_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check("result.instance_ids", self.instance_ids, ("H", "W"), torch.int32, {})


@dataclass(frozen=True)
class MapView:
    """What the map shows in a frame: ids (h, w) int64 at every `step`-th pixel of the geometry's grid, from the first on;
    0 where nothing, or nothing labelled, was seen before.
    """

    ids: Tensor
    step: int


@dataclass(frozen=True)
class Instance:
    """One object of the map, in plain numbers. Metres; box_min, box_max and centroid are (x, y, z)."""

    id: int
    points: int
    centroid: tuple[float, float, float]
    box_min: tuple[float, float, float]
    box_max: tuple[float, float, float]
    score: float
    first_frame: int
    last_frame: int
    observations: int


@dataclass(frozen=True)
class InstanceMap:
    """The labelled map: points (N, 3) float32, colors (N, 3) uint8 RGB, instance_ids (N,) int32, confidence (N,)
    float32 in [0, 1] (share of the observations that agree), and all instances, also those without points;
    descriptors: the query (D,) float32 by instance id, of those still in matching.
    """

    points: Tensor
    colors: Tensor
    instance_ids: Tensor
    confidence: Tensor
    instances: tuple[Instance, ...] = ()
    descriptors: Mapping[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        check("map.points", self.points, ("N", 3), torch.float32, sizes)
        check("map.colors", self.colors, ("N", 3), torch.uint8, sizes)
        check("map.instance_ids", self.instance_ids, ("N",), torch.int32, sizes)
        check("map.confidence", self.confidence, ("N",), torch.float32, sizes)

    def __len__(self) -> int:
        return self.points.shape[0]

    def published(self, min_observations: int, min_points: int) -> tuple[Instance, ...]:
        """Return the instances with enough observations and points to be published.

        Where none has been seen as often yet, it is enough to be seen as often as the most seen one, but not just once:
        what one frame alone shows may be an error of its masks.
        """
        most = max((i.observations for i in self.instances), default=0)
        enough = min(min_observations, max(most, 2))
        return tuple(i for i in self.instances if i.observations >= enough and i.points >= min_points)

    @classmethod
    def empty(cls) -> InstanceMap:
        """Make an empty map."""
        return cls(
            torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8), torch.zeros(0, dtype=torch.int32), torch.zeros(0)
        )
