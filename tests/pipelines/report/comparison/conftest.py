"""A small study's results."""

from __future__ import annotations

import pytest

from pipelines.analysis.results import StudyResults


@pytest.fixture(scope="session")
def results(make_study, tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return make_study(tmp_path_factory.mktemp("study"))
