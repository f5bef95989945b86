"""Experiments for the doctor, and an address where nothing listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.learner.distributed import free_port
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"


def demo(*overrides: str) -> Experiment:
    return load(DEMO, list(overrides), Experiment)


@pytest.fixture
def nowhere() -> str:
    """Return host and port of an address on loopback where nothing listens."""
    return f"127.0.0.1:{free_port()}"
