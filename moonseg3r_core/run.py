"""Run the segmenter over a recording and write the output folder, as `moonseg3r run` does."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

import moonseg3r_core
from moonseg3r_core.config import Config
from moonseg3r_core.errors import FrameRejected, MoonSeg3RError, SourceError
from moonseg3r_core.report.folder import OutputFolder
from moonseg3r_core.report.gallery import Picture, shrink_ids
from moonseg3r_core.report.page import ReportData, render_page
from moonseg3r_core.report.run_log import RunLog
from moonseg3r_core.report.summary import Summary, make_verdict
from moonseg3r_core.resolve import RecordingFacts, make_input_check, resolve
from moonseg3r_core.runtime.interrupt import defer_interrupts
from moonseg3r_core.segmenter import OnlineSegmenter
from moonseg3r_core.settings import to_dict
from moonseg3r_core.sources.input_check import InputCheck
from moonseg3r_core.sources.plausibility import Finding
from moonseg3r_core.sources.source import Recording, logger
from moonseg3r_core.types import Frame, Instance, InstanceMap

T = TypeVar("T")


def run(
    source: Recording, segmenter: OnlineSegmenter, config: Config, out: OutputFolder, *,
    weights: Mapping[str, str] | None = None, quiet: bool = False,
) -> Summary:  # fmt: skip
    """Run the segmenter over a recording and write all of OUT, which has been claimed before.

    `config` is what the segmenter was built from, resolved or not, `weights` the hashes of its weights.
    An interrupt ends the run early. Whatever ends it, the results so far are written. Raises SourceError, OutputError.
    """
    out.clear()
    log = RunLog()
    check = make_input_check(config, source.depth_scale, source.axes)
    try:
        _process_frames(source, segmenter, check, out, log, quiet)
    except KeyboardInterrupt:
        log.interrupted = True
    except MoonSeg3RError as error:
        log.error = str(error)
        raise
    except Exception as error:
        log.error = f"{type(error).__name__}: {error}"
        raise
    finally:
        with defer_interrupts():
            summary = _write_results(source, segmenter, config, weights or {}, out, log)
    return summary


def read_ahead(frames: Iterable[T]) -> Iterator[T]:
    """Yield the same items in order; a thread reads the next one while the current one is processed."""
    done = object()
    iterator = iter(frames)
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        coming = reader.submit(next, iterator, done)
        try:
            while (item := coming.result()) is not done:
                coming = reader.submit(next, iterator, done)
                yield item  # type: ignore[misc]
        finally:
            # In the thread that opened it, as a bag's database requires.
            if hasattr(iterator, "close"):
                reader.submit(iterator.close)


def _process_frames(
    source: Recording, segmenter: OnlineSegmenter, check: InputCheck, out: OutputFolder, log: RunLog, quiet: bool
) -> None:
    """Process all frames under a progress bar; an interrupt takes effect between two frames."""
    interval = 0.1 if sys.stderr.isatty() else 10.0  # few lines in a log file
    bar = tqdm(total=source.length, unit="frame", disable=quiet, delay=0.5, mininterval=interval, dynamic_ncols=True)
    with bar:
        for frame in read_ahead(source):
            _report_findings(check.observe(frame, source.camera_frame), check, log)
            with defer_interrupts():
                _process_frame(frame, segmenter, out, log)
            bar.set_postfix(instances=log.count_instances(segmenter.final_ids), refresh=False)
            bar.update()
    _report_findings(check.conclude(), check, log)


def _report_findings(findings: Sequence[Finding], check: InputCheck, log: RunLog) -> None:
    """Record and log numbers that cannot be. Raises SourceError for those that are not gone on with."""
    log.findings += [finding.text for finding in findings]
    if check.refused:
        raise SourceError(check.refused.text)
    for finding in findings:
        logger.warning("%s", finding.text)


def _process_frame(frame: Frame, segmenter: OnlineSegmenter, out: OutputFolder, log: RunLog) -> None:
    try:
        result = segmenter.step(frame)
    except FrameRejected as why:
        log.skip(frame, why)
        return
    out.write_frame(result.index, result.instance_ids.cpu().numpy())
    log.add(frame, result)


def _write_results(
    source: Recording,
    segmenter: OnlineSegmenter,
    config: Config,
    weights: Mapping[str, str],
    out: OutputFolder,
    log: RunLog,
) -> Summary:
    """Write everything but the frames, which are there already and get their final ids."""
    seconds = perf_counter() - log.started
    map = segmenter.snapshot()
    published = map.published(config.map.min_observations, config.map.min_points)
    summary = _make_summary(source, config, weights, log, map, published, seconds)
    out.relabel(segmenter.final_ids)
    out.write_map(map)
    out.write_trajectory(log.stamps, log.poses)
    images = log.gallery.images.items()
    pictures = [Picture(i, image, shrink_ids(out.read_frame(i), image.shape)) for i, image in images]
    poses = torch.stack(log.poses).numpy() if log.poses else np.zeros((0, 4, 4))
    data = ReportData(summary, map, published, poses, pictures, log.indices, log.stage_ms, config.map.voxel)
    out.write_report(render_page(data))
    out.write_summary(summary)
    return summary


def _make_summary(
    source: Recording, config: Config, weights: Mapping[str, str], log: RunLog, map: InstanceMap,
    published: Sequence[Instance], seconds: float,
) -> Summary:  # fmt: skip
    counts = log.count_frames(source.rejected)
    withheld = len(map.instances) - len(published)
    resolved = resolve(config, RecordingFacts(source.masks_folder, log.grid_width))
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    unit = 1024**2 if sys.platform == "darwin" else 1024  # of ru_maxrss, per MiB
    return Summary(
        version=moonseg3r_core.__version__, source=source.name, source_kind=source.kind,
        frames=counts.used, held=counts.held, skipped=counts.skipped,
        instances=len(published), instances_withheld=withheld, points=len(map),
        seconds=seconds, fps=counts.used / seconds, stage_ms=log.compute_stage_medians(),
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        peak_gpu_memory_mib=torch.cuda.max_memory_allocated() / 1024**2 if on_gpu else 0.0,
        device=log.device, masks_kind=resolved.masks.kind,
        config=to_dict(resolved), requested=to_dict(config), weights=weights,
        interrupted=log.interrupted, error=log.error,
        verdict=make_verdict(counts, len(published), withheld, config.map, log.findings),
    )  # fmt: skip
