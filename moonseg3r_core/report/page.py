"""Render `report.html`: one file with its pictures inside, which opens without a network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
import yaml

from moonseg3r_core.report import topdown
from moonseg3r_core.report.gallery import Picture, select_evenly
from moonseg3r_core.report.overlay import draw_cutout, draw_overlay, find_best_pictures
from moonseg3r_core.report.palette import format_hex_color
from moonseg3r_core.report.style import CSS
from moonseg3r_core.report.summary import OK, Summary
from moonseg3r_core.types import Instance, InstanceMap

MAX_ROWS = 300


@dataclass(frozen=True)
class ReportData:
    """The contents of the report.

    poses: (F, 4, 4) world_from_camera. stage_ms: milliseconds per stage of each frame. overlays: number of pictures.
    """

    summary: Summary
    map: InstanceMap
    published: Sequence[Instance]
    poses: np.ndarray
    pictures: list[Picture]
    indices: Sequence[int]
    stage_ms: Sequence[Mapping[str, float]]
    voxel: float = 0.02
    overlays: int = 12


def render_page(data: ReportData) -> str:
    """Render the page as HTML."""
    sections = (
        _render_header, _render_overlays, _render_map, _render_instances,
        _render_times, _render_skipped, _render_config,
    )  # fmt: skip
    title = escape(f"MoonSeg3R: {data.summary.source}")
    body = "\n".join(part for part in (build(data) for build in sections) if part)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">\n'
        f"<style>{CSS}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def _render_header(data: ReportData) -> str:
    s = data.summary
    figures = {
        "instances": s.instances, "frames": s.frames, "frames per second": f"{s.fps:.1f}",
        "map points": f"{s.points:,}", "peak memory": f"{s.peak_memory_mib:,.0f} MiB", "device": s.device,
    }  # fmt: skip
    cells = "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in figures.items())
    geometry = s.config.get("reconstruction", {}).get("kind", "")
    kinds = f"geometry: {escape(geometry)} &middot; masks: {escape(s.masks_kind)}"
    how = f"{s.source_kind} &middot; {kinds} &middot; MoonSeg3R {escape(s.version)}"
    name = s.source.rstrip("/").rsplit("/", 1)[-1] or s.source  # the last part of the path
    return (
        f"<header><h1>{escape(name)}</h1><p>{escape(s.source)} &middot; {how}</p></header>\n"
        f'<dl class="figures">{cells}</dl>{_render_notices(s)}'
    )


def _render_notices(summary: Summary) -> str:
    notices = [
        summary.untrained,
        "Interrupted: this is what was done until then." if summary.interrupted else "",
        f"Stopped by an error: {summary.error}" if summary.error else "",
        summary.verdict if summary.verdict != OK else "",
    ]
    return "".join(f'<div class="verdict">{escape(notice)}</div>' for notice in notices if notice)


def _render_overlays(data: ReportData) -> str:
    shown = select_evenly(data.pictures, data.overlays)
    figures = "".join(
        f'<figure><img src="{_encode_jpeg(draw_overlay(p))}" alt="frame {p.index} with its instances">'
        f"<figcaption>frame {p.index}</figcaption></figure>"
        for p in shown
    )
    note = (
        "One colour and one number per instance, the same in every picture and in the map below; what has none is pale."
    )
    return _render_section("Frames", note, f'<div class="pictures">{figures}</div>') if shown else ""


def _render_map(data: ReportData) -> str:
    from moonseg3r_core.report import charts  # matplotlib takes seconds to import

    view = topdown.rasterize_map(data.map, data.poses, data.voxel)
    if view is None:
        return ""
    note = (
        "Seen from above, with the camera's path from circle to square; instances are drawn over what belongs to none. Up "
        "is where floors and table tops lie flattest, near the cameras' own upright; what lies more than "
        f"{topdown.HEADROOM:g} m above the camera's highest point is left out. Where numbers would cover one another the "
        f"largest instance has its own. {data.summary.estimated}"
    )
    numbered = [instance.id for instance in sorted(data.published, key=lambda instance: -instance.points)]
    plot = _encode_png(charts.plot_map(view, numbered))
    return _render_section("Map", note, f'<img class="plot" src="{plot}" alt="map from above">')


def _render_instances(data: ReportData) -> str:
    ranked = sorted(data.published, key=lambda instance: -instance.points)
    if not ranked:
        return ""
    best = find_best_pictures(data.pictures)
    rows = "".join(_render_row(instance, best.get(instance.id)) for instance in ranked[:MAX_ROWS])
    names = ("id", "", "points", "size, m", "observations", "first frame", "last frame", "score")
    head = "".join(f"<th>{name}</th>" for name in names)
    note = f"{len(ranked)} instances, the largest first."
    if len(ranked) > MAX_ROWS:
        note += f" The first {MAX_ROWS} are listed; instances.json holds all."
    if data.summary.instances_withheld:
        note += f" {data.summary.instances_withheld} more were seen too seldom or were outvoted, and are not listed."
    return _render_section("Instances", note, f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>')


def _render_row(instance: Instance, picture: Picture | None) -> str:
    size = " &times; ".join(f"{b - a:.2f}" for a, b in zip(instance.box_min, instance.box_max, strict=True))
    source = _encode_jpeg(draw_cutout(picture, instance.id)) if picture else ""
    image = f'<img src="{source}" alt="instance {instance.id}">' if picture else ""
    share = f'<span class="bar"><b style="width:{100 * min(max(instance.score, 0.0), 1.0):.0f}%"></b></span>'
    cells = (
        f'<span class="id"><i style="background:{format_hex_color(instance.id)}"></i>{instance.id}</span>', image,
        f"{instance.points:,}", size, instance.observations, instance.first_frame, instance.last_frame,
        f"{share}{instance.score:.2f}",
    )  # fmt: skip
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _render_times(data: ReportData) -> str:
    if not data.summary.stage_ms:
        return ""
    from moonseg3r_core.report import charts

    plot = _encode_png(charts.plot_stage_times(data.indices, data.stage_ms, data.summary.stage_ms))
    total = sum(data.summary.stage_ms.values())
    note = f"Milliseconds of each stage; the medians add up to {total:.0f} ms. Reading and writing come on top."
    return _render_section("Time per stage", note, f'<img class="plot" src="{plot}" alt="time per stage">')


def _render_skipped(data: ReportData) -> str:
    s = data.summary
    rows = [("left out", *row) for row in s.skipped.items()] + [("without points", *row) for row in s.held.items()]
    if not rows:
        return ""
    cells = "".join(f"<tr><td>{what}</td><td>{escape(why)}</td><td>{count}</td></tr>" for what, why, count in rows)
    table = f'<table class="plain"><tr><th></th><th>reason</th><th>frames</th></tr>{cells}</table>'
    note = f"{sum(s.skipped.values())} frames were left out, {sum(s.held.values())} brought no points of their own."
    return _render_section("Skipped frames", note, table)


def _render_config(data: ReportData) -> str:
    text = escape(yaml.safe_dump(dict(data.summary.config), sort_keys=False))
    return f"<section><details><summary>Configuration</summary><pre>{text}</pre></details></section>"


def _render_section(title: str, note: str, content: str) -> str:
    return f'<section><h2>{title}</h2><p class="note">{note}</p>{content}</section>'


def _encode_jpeg(image: np.ndarray) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 86])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _encode_png(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
