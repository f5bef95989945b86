"""Every YAML file under experiments/ passes its dry run, but for servers: a study has the key `runs`, a sweep `parameters`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.__main__ import main

REPOSITORY = Path(__file__).parents[3]
SERVERS = REPOSITORY / "experiments" / "serve"
FILES = sorted(path for path in (REPOSITORY / "experiments").rglob("*.yaml") if SERVERS not in path.parents)


def is_study(path: Path) -> bool:
    """Return whether a file, or one that it extends, names runs."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return "runs" in content or ("extends" in content and is_study(path.parent / content["extends"]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_shipped_file_passes_its_dry_run(path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(REPOSITORY)
    command = "sweep" if path.parent.name == "sweeps" else "study" if is_study(path) else "run"
    assert main([command, str(path.relative_to(REPOSITORY)), "--dry-run"]) == 0
    assert "rollout-0" in capsys.readouterr().out


def test_a_study_is_told_by_its_runs_even_where_it_extends_another(tmp_path: Path) -> None:
    study, shorter, experiment = (tmp_path / f"{name}.yaml" for name in ("study", "shorter", "experiment"))
    study.write_text("name: a\nruns: {a: experiment.yaml}\n")
    shorter.write_text("extends: study.yaml\nresamples: 100\n")
    experiment.write_text("name: a\n")
    assert [is_study(path) for path in (study, shorter, experiment)] == [True, True, False]


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pipelines", "run", "experiments/demo.yaml", "--dry-run"]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
