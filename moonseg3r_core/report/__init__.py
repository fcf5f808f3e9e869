"""The output of a run: the folder OUT, its summary and its report page."""

from moonseg3r_core.report.folder import OutputFolder
from moonseg3r_core.report.gallery import Gallery, Picture, shrink_ids
from moonseg3r_core.report.page import ReportData, render_page
from moonseg3r_core.report.run_log import RunLog
from moonseg3r_core.report.summary import FrameCounts, Summary, make_verdict

__all__ = [
    "FrameCounts", "Gallery", "OutputFolder", "Picture", "ReportData", "RunLog", "Summary", "make_verdict",
    "render_page", "shrink_ids",
]  # fmt: skip
