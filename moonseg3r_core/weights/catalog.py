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
    setting = "reconstruction.kind=cut3r"
    return Entry(name, setting, purpose, source, publisher, CC_BY_NC_SA, megabytes * _MB, convert)


def _make_dinov3(size: str, purpose: str, megabytes: int) -> Entry:
    source = HubFiles(f"facebook/dinov3-vit{size}16-pretrain-lvd1689m")
    publisher = "https://github.com/facebookresearch/dinov3"
    return Entry(
        f"dinov3-vit{size}16", "features.kind=dinov3", purpose, source, publisher, DINOV3, megabytes * _MB, gated=True
    )


def _make_dinov2(size: str, purpose: str, megabytes: int) -> Entry:
    source, publisher = HubFiles(f"facebook/dinov2-{size}"), "https://github.com/facebookresearch/dinov2"
    return Entry(f"dinov2-{size}", "features.kind=dinov2", purpose, source, publisher, APACHE, megabytes * _MB)


def _make_sam2(size: str, purpose: str, megabytes: int) -> Entry:
    source, publisher = HubFiles(f"facebook/sam2.1-hiera-{size}"), "https://github.com/facebookresearch/sam2"
    return Entry(f"sam2.1-{size}", "masks.kind=sam2", purpose, source, publisher, APACHE, megabytes * _MB)


def _make_fastsam(size: str, purpose: str, megabytes: int) -> Entry:
    source, publisher = WebFile(f"{_FASTSAM}/FastSAM-{size}.pt"), "https://github.com/ultralytics/ultralytics"
    return Entry(f"fastsam-{size}", "masks.kind=fastsam", purpose, source, publisher, AGPL, megabytes * _MB)


def _make_mask2former(name: str, purpose: str, megabytes: int) -> Entry:
    name, setting = f"mask2former-swin-{name}", "masks.kind=mask2former"
    return Entry(name, setting, purpose, HubFiles(f"facebook/{name}"), _MASK2FORMER, CC_BY_NC, megabytes * _MB)


ENTRIES = (
    _make_cut3r(
        "cut3r-512", "geometry from color alone", "1Asz-ZB3FfpzZYwunhQvNPZEUA8XUNAYD", "cut3r_512_dpt_4_64.pth", 3173
    ),
    _make_cut3r(
        "cut3r-224", "the same at 224 x 224 pixels (reconstruction.cut3r.model)",
        "11dAgFkWHpaOHsR6iuitlB_v4NFFBrWjy", "cut3r_224_linear_4.pth", 2994,
    ),
    _make_dinov3("s", "features, ViT-S/16", 86),
    _make_dinov3("b", "features, ViT-B/16", 343),
    _make_dinov3("l", "features, ViT-L/16", 1213),
    _make_dinov2("small", "features, ViT-S/14", 88),
    _make_dinov2("base", "features, ViT-B/14", 346),
    _make_dinov2("large", "features, ViT-L/14", 1217),
    _make_sam2("tiny", "masks of everything: the smallest of four", 156),
    _make_sam2("small", "masks of everything", 184),
    _make_sam2("base-plus", "masks of everything", 323),
    _make_sam2("large", "masks of everything: the largest of four", 898),
    Entry(
        "sam-vit-base", "masks.kind=sam", "masks of everything, the first SAM", HubFiles("facebook/sam-vit-base"),
        "https://github.com/facebookresearch/segment-anything", APACHE, 375 * _MB,
    ),
    _make_fastsam("s", "masks of everything in one pass: small", 24),
    _make_fastsam("x", "masks of everything in one pass: large", 145),
    _make_mask2former("tiny-coco-instance", "masks of COCO's things, Swin-T", 190),
    _make_mask2former("tiny-coco-panoptic", "masks of COCO's things and surfaces, Swin-T", 190),
    _make_mask2former("large-coco-instance", "masks of COCO's things, Swin-L", 866),
    _make_mask2former("large-coco-panoptic", "masks of COCO's things and surfaces, Swin-L", 866),
    _make_mask2former("large-ade-panoptic", "masks of ADE20K's things and surfaces, Swin-L", 866),
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
