"""The configuration of what makes points and poses: the nets that do it from color alone, and the recording's own depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moonseg3r_core.settings import PRECISION, PRECISIONS, WEIGHTS, Kind, live, section, value

KINDS = {
    "nano": Kind(
        "moonseg3r_core.reconstruction.cut3r.build:build_nano", device=True, fields=("multi_view", "odometry")
    ),
    "cut3r": Kind(
        "moonseg3r_core.reconstruction.cut3r.build:build_cut3r", device=True, fields=("multi_view", "odometry")
    ),
    "depth": Kind(
        "moonseg3r_core.reconstruction.depth.build:build_depth", device=True, fields=("multi_view", "odometry")
    ),
    "rgbd": Kind("moonseg3r_core.reconstruction.rgbd:RgbdReconstruction"),
}
UNTRAINED = "UNTRAINED"  # stands for the hash of weights that are random numbers (`random`)


@dataclass(frozen=True)
class RgbdConfig:
    min_depth: float = live(0.1, "nearer depth is ignored, metres", low=0.0)
    max_depth: float = live(8.0, "farther depth is ignored, metres", low=0.0)
    edge: float = live(0.0, "depth is dropped where it jumps by more than this share of it; 0: kept", low=0.0)
    cell: int = value(16, "pixels per cell of the position features (F3d)", low=4, high=64)
    longest: float = value(8.0, "longest wavelength of the position features, metres", low=0.1)
    octaves: int = value(5, "wavelengths of the position features, each half the one before", low=1, high=8)


POSES = ("model", "tracked", "given")
POSE = "model: the net's; tracked: by landmarks adjusted with the net's depth, which they correct; given: the recording's or the robot's own"
STATE = "state update; cut3r: as published; ttt3r: forgets less in long sequences; damped, brake: still less, beyond about 90 frames"
GEOMETRIC = "F3d; modulation: the net's tokens before its world head (paper); positions: where the points lie"
CONFIDENCE = "points of lower confidence are left out; the net gives 1 and more"


@dataclass(frozen=True)
class NetConfig:
    """The settings of a net that reconstructs from color: its outputs, and how a stream becomes one map."""

    weights: str = value("", "file of weights, whose sizes then count; empty: the kind's own")
    points: str = value(
        "world",
        "world: points of the world head (paper); self: points of the self head carried by the pose, a dense head less",
        choices=("world", "self"),
    )
    pose: str = value("model", POSE, choices=POSES)
    precision: str = value("float32", "numbers inside the net; half ones on a GPU", choices=PRECISIONS)
    attention: str = value(
        "mean", "state attention (A): mean over the decoder's layers, last, a layer's number, or none"
    )
    geometric: str = value("modulation", GEOMETRIC, choices=("modulation", "positions"))
    state: str = value("cut3r", STATE, choices=("cut3r", "ttt3r", "damped", "brake"))
    reset_every: int = value(0, "key frames after which the state starts anew, chained to what was; 0: never", low=0)
    key_translation: float = value(
        0.02, "a key frame (one that changes the state) has moved by this share of the median depth", low=0.0
    )
    key_rotation: float = value(
        2.0,
        "or a key frame has turned by this much, degrees; 0 here or in key_translation: every frame is one",
        low=0.0,
    )
    min_confidence: float = value(1.5, CONFIDENCE, low=1.0)


@dataclass(frozen=True)
class NanoConfig(NetConfig):
    model: ClassVar[str] = "nano"
    weights: str = value("", "file of weights, whose sizes then count; empty: those that come with the package")
    pose: str = value("tracked", POSE, choices=POSES)
    geometric: str = value("positions", GEOMETRIC, choices=("modulation", "positions"))
    min_confidence: float = value(1.0, CONFIDENCE, low=1.0)


@dataclass(frozen=True)
class Cut3rConfig(NetConfig):
    weights: str = value(
        "", "file of weights, whose sizes then count; empty: the installed ones (moonseg3r weights get)"
    )
    model: str = value(
        "cut3r-512",
        "which CUT3R; cut3r-tiny is for tests and comes untrained only",
        choices=("cut3r-512", "cut3r-224", "cut3r-tiny"),
    )
    rope_fp16: bool = value(False, "round the encoder's rotated positions to float16, as the original does on a GPU")


@dataclass(frozen=True)
class DepthConfig:
    weights: str = value("depth-anything-v2-indoor-small", WEIGHTS)
    pose: str = value(
        "tracked",
        "tracked: by landmarks, which correct the net's depth; given: the recording's or the robot's own",
        choices=("tracked", "given"),
    )
    precision: str = value("float32", PRECISION, choices=PRECISIONS)
    short_side: int = value(
        518, "the shorter side of the net's input, rounded to whole patches, pixels", low=14, high=4096
    )
    stride: int = value(2, "every n-th row and column of the net's depth is a point of the map", low=1, high=14)
    max_depth: float = value(20.0, "farther points are left out, in the map's unit", low=0.1)
    field_of_view: float = value(
        60.0, "of frames without intrinsics, along the image's longer side, degrees", low=5.0, high=170.0
    )

    @property
    def model(self) -> str:
        """The name of the weights."""
        return self.weights


@dataclass(frozen=True)
class MultiViewConfig:
    """Depth from several views, behind the first depth of any net; not with pose=model."""

    sources: int = value(
        4, "past views that a frame's depth is matched with; 0: the net's depth, corrected at landmarks", low=0, high=16
    )
    weights: str = value("", "file of weights, whose sizes then count; empty: those that come with the package")


@dataclass(frozen=True)
class OdometryConfig:
    """Visual odometry, behind pose=tracked of any net."""

    loops: bool = value(True, "places that are recognised correct the way since then, and the map")


@dataclass(frozen=True)
class ReconstructionConfig:
    kind: str = value(
        "nano",
        "where points and poses come from; nano: color alone, by the small net in the package; cut3r: color alone, by "
        "the published net (moonseg3r weights get); depth: color alone, by a published net of depth and visual "
        "odometry; rgbd: the recording's depth and poses",
        choices=tuple(KINDS),
    )
    random: bool = value(False, "an untrained net, for tests and timing; its results are meaningless")
    nano: NanoConfig = section(NanoConfig)
    cut3r: Cut3rConfig = section(Cut3rConfig)
    depth: DepthConfig = section(DepthConfig)
    rgbd: RgbdConfig = section(RgbdConfig)
    multi_view: MultiViewConfig = section(MultiViewConfig)
    odometry: OdometryConfig = section(OdometryConfig)

    @property
    def net(self) -> NanoConfig | Cut3rConfig | DepthConfig | None:
        """The settings of the chosen kind's net; None where it has none."""
        nets: dict[str, NanoConfig | Cut3rConfig | DepthConfig] = {
            "nano": self.nano, "cut3r": self.cut3r, "depth": self.depth
        }  # fmt: skip
        return nets.get(self.kind)

    @property
    def is_refined(self) -> bool:
        """True where depth of several views replaces the net's."""
        return self.net is not None and self.net.pose != "model" and self.multi_view.sources > 0

    @property
    def has_tokens(self) -> bool:
        """Whether the chosen kind has a net of CUT3R's form, with state attention and an image encoder's tokens."""
        return isinstance(self.net, NetConfig)
