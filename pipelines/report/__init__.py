"""The report: a run directory as one self-contained HTML page and a folder of figures."""
