"""The report of a study: its systems compared on one self-contained HTML page, beside the paper's numbers."""

from pipelines.report.comparison.page import write_comparison

__all__ = ["write_comparison"]
