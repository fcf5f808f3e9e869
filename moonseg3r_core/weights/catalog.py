"""Lists the weights that can be installed: their official address, size and licence, and what they are for."""

from __future__ import annotations

import difflib

from moonseg3r_core.errors import InputError
from moonseg3r_core.weights.embedded import EMBEDDED
from moonseg3r_core.weights.entry import DriveFile, Entry, HubFiles, Licence, WebFile

APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
AGPL = Licence("AGPL-3.0", "https://www.gnu.org/licenses/agpl-3.0.html")
DINOV3 = Licence("DINOv3 License (own terms)", "https://ai.meta.com/resources/models-and-libraries/dinov3-license/")
CC_BY_NC_SA = Licence("CC BY-NC-SA 4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/", noncommercial=True)
CC_BY_NC = Licence("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", noncommercial=True)
ADOBE = Licence(
    "Adobe Research License", "https://github.com/adobe-research/EntitySeg-Dataset/blob/main/LICENSE.md", noncommercial=True
)  # fmt: skip
_MASK2FORMER = "https://github.com/facebookresearch/Mask2Former"  # its MODEL_ZOO.md names the licence of all weights
_FASTSAM = "https://github.com/ultralytics/assets/releases/download/v8.3.0"
_CROPFORMER = "CropFormer_model/Entity_Segmentation/CropFormer_hornet_3x/CropFormer_hornet_3x_03823a.pth"
_MB = 1_000_000


def _make_cut3r(name: str, purpose: str, drive: str, file: str, megabytes: int) -> Entry:
    source, publisher = DriveFile(drive, file), "https://github.com/CUT3R/CUT3R"
    convert = "moonseg3r_core.reconstruction.cut3r.checkpoint:convert"
    return Entry(name, "reconstruction.kind=cut3r", purpose, source, publisher, CC_BY_NC_SA, megabytes * _MB, convert)


def _make_depth_anything(size: str, kind: str, megabytes: int) -> Entry:
    """Its publisher gives the small nets under another licence than the larger ones."""
    middle = f"-Metric-{kind.title()}" if kind else ""
    what = f"{kind}s, metres" if kind else "up to scale and shift"
    return Entry(
        f"depth-anything-v2-{f'{kind}-' if kind else ''}{size}", "reconstruction.kind=depth",
        f"depth from one image, {what}, ViT-{size[0].upper()}/14",
        HubFiles(f"depth-anything/Depth-Anything-V2{middle}-{size.title()}-hf"),
        "https://github.com/DepthAnything/Depth-Anything-V2", APACHE if size == "small" else CC_BY_NC, megabytes * _MB,
    )  # fmt: skip


ENTRIES = (
    _make_cut3r(
        "cut3r-512", "geometry from color alone", "1Asz-ZB3FfpzZYwunhQvNPZEUA8XUNAYD", "cut3r_512_dpt_4_64.pth", 3173
    ),
    _make_cut3r(
        "cut3r-224", "the same at 224 x 224 pixels (reconstruction.cut3r.model)",
        "11dAgFkWHpaOHsR6iuitlB_v4NFFBrWjy", "cut3r_224_linear_4.pth", 2994,
    ),
    *(
        _make_depth_anything(size, kind, megabytes)
        for kind, sizes in (("indoor", "sbl"), ("outdoor", "s"), ("", "sbl"))
        for size, megabytes in (("small", 99), ("base", 390), ("large", 1341))
        if size[0] in sizes
    ),
    *(
        Entry(
            f"dinov3-vit{size}16", "features.kind=dinov3", f"features, ViT-{size.upper()}/16",
            HubFiles(f"facebook/dinov3-vit{size}16-pretrain-lvd1689m"), "https://github.com/facebookresearch/dinov3",
            DINOV3, megabytes * _MB, gated=True,
        )
        for size, megabytes in (("s", 86), ("b", 343), ("l", 1213))
    ),
    *(
        Entry(
            f"dinov2-{size}", "features.kind=dinov2", f"features, ViT-{size[0].upper()}/14",
            HubFiles(f"facebook/dinov2-{size}"), "https://github.com/facebookresearch/dinov2", APACHE, megabytes * _MB,
        )
        for size, megabytes in (("small", 88), ("base", 346), ("large", 1217))
    ),
    *(
        Entry(
            f"sam2.1-{size}", "masks.kind=sam2", f"masks of everything{note}",
            HubFiles(f"facebook/sam2.1-hiera-{size}"), "https://github.com/facebookresearch/sam2", APACHE, megabytes * _MB,
        )
        for size, note, megabytes in (
            ("tiny", ": the smallest of four", 156), ("small", "", 184), ("base-plus", "", 323),
            ("large", ": the largest of four", 898),
        )
    ),
    Entry(
        "sam-vit-base", "masks.kind=sam", "masks of everything, the first SAM", HubFiles("facebook/sam-vit-base"),
        "https://github.com/facebookresearch/segment-anything", APACHE, 375 * _MB,
    ),
    *(
        Entry(
            f"fastsam-{size}", "masks.kind=fastsam", f"masks of everything in one pass: {word}",
            WebFile(f"{_FASTSAM}/FastSAM-{size}.pt"), "https://github.com/ultralytics/ultralytics",
            AGPL, megabytes * _MB,
        )
        for size, word, megabytes in (("s", "small", 24), ("x", "large", 145))
    ),
    *(
        Entry(
            f"mask2former-swin-{name}", "masks.kind=mask2former", f"masks of {what}, Swin-{name[0].upper()}",
            HubFiles(f"facebook/mask2former-swin-{name}"), _MASK2FORMER, CC_BY_NC, megabytes * _MB,
        )
        for name, what, megabytes in (
            ("tiny-coco-instance", "COCO's things", 190), ("tiny-coco-panoptic", "COCO's things and surfaces", 190),
            ("large-coco-instance", "COCO's things", 866), ("large-coco-panoptic", "COCO's things and surfaces", 866),
            ("large-ade-panoptic", "ADE20K's things and surfaces", 866),
        )
    ),
    Entry(
        "cropformer", "masks.kind=cropformer", "masks of entities, as in the paper; runs in its authors' package",
        HubFiles("qqlu1992/Adobe_EntitySeg", (_CROPFORMER,), "dataset"), "https://github.com/qqlu/Entity", ADOBE, 0,
        gated=True,
    ),
)  # fmt: skip
CATALOG = {entry.name: entry for entry in ENTRIES}
ALIASES = {"cut3r": "cut3r-512"}


def find_entry(name: str) -> Entry:
    """Find the entry of a name or alias. Raises InputError that suggests the nearest."""
    name = ALIASES.get(name, name)
    if name in EMBEDDED:
        raise InputError(f"{name} comes with the package, there is nothing to get or to check; choose it as it is.")
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, n=1, cutoff=0.0)
        raise InputError(
            f"weights must be one of {', '.join(CATALOG)}, got '{name}'; did you mean {', '.join(near)}? "
            "`moonseg3r weights list` says what each is for."
        )
    return CATALOG[name]
