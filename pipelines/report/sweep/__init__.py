"""The comparison page of a sweep's trials."""

from pipelines.report.sweep.page import write_sweep_page

__all__ = ["write_sweep_page"]
