"""The driver: experiment schema, stages, data sources, baselines, report."""
