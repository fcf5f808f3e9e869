"""What a run leaves behind: the folder OUT, its summary, and the page that shows it."""

from moonseg3r_core.report.folder import OutputFolder
from moonseg3r_core.report.gallery import Gallery, Picture, shrink_ids
from moonseg3r_core.report.page import Material, page
from moonseg3r_core.report.summary import Counts, Summary, verdict

__all__ = [
    "Counts",
    "Gallery",
    "Material",
    "OutputFolder",
    "Picture",
    "Summary",
    "page",
    "shrink_ids",
    "verdict",
]
