"""Names of video codecs, whose packets in a CompressedImage are no images."""

from __future__ import annotations

import re

CODECS = {
    "H.264": r"h\.?264|\bx264|\bavc\d?\b",
    "H.265": r"h\.?265|\bx265|hevc",
    "AV1": r"\bav0?1\b",
    "VP8": r"\bvp8\b",
    "VP9": r"\bvp0?9\b",
    "MPEG-4": r"mpeg-?4|\bmp4v?\b",
    "Theora": r"theora",
}
START_CODES = (b"\x00\x00\x00\x01", b"\x00\x00\x01")  # of H.264 and H.265 in a byte stream
VIDEO_TYPES = re.compile(r"FFMPEGPacket|CompressedVideo|theora_image_transport/msg/Packet")


def find_video_codec(format: str, data: bytes = b"") -> str:
    """Find the video codec that the format of a CompressedImage names, or that its data begins like; "" for none."""
    named = next((codec for codec, pattern in CODECS.items() if re.search(pattern, format.lower())), "")
    return named or ("H.264 or H.265" if data.startswith(START_CODES) else "")
