"""Checks of an experiment before it is submitted, on a machine that is none of the cluster's.

Folders and files that are only on the cluster pass. What cannot be right there does not: a result in a folder that ends with
the job, or a relative path to something that is not uploaded.
"""

from __future__ import annotations

from pathlib import Path

from cluster.upload import Upload
from pipelines.data.sources import check_local_sources, source_paths
from pipelines.experiment import yaml_values
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import EXTENDS
from pipelines.experiment.model_paths import given_paths, located
from pipelines.experiment.schema import Experiment


def check_for_cluster(experiment: Experiment, file: Path, upload: Upload) -> None:
    """Raise `ConfigError` or `DataError` if the run cannot work on another machine that has `upload` as its folder.

    `file` is the experiment's. The upload's folder is the working directory, which relative paths begin at.
    """
    problems = [*_files(file, upload), *_results(experiment), *_address(experiment)]
    elsewhere = set()
    for key, (_, path) in source_paths(experiment.data, experiment.warmup.enabled).items():
        if not path.is_absolute() and not upload.has(path):
            problems.append(f"{key}.path = '{path}': {_NOT_UPLOADED}")
        if not path.exists():
            elsewhere.add(key)
    for key, name in given_paths(experiment).items():
        folder = Path(name)
        if not folder.is_absolute() and folder.is_dir() and not upload.has(folder):
            problems.append(f"{key} = {name!r}: {_NOT_UPLOADED}")
        elif folder.exists():
            located(key, name, key.endswith(".tokenizer"))
    if problems:
        raise ConfigError(problems)
    check_local_sources(experiment.data, experiment.warmup.enabled, passed_over=elsewhere)


_NOT_UPLOADED = "is not uploaded; give the absolute path of a copy on a disk of the cluster"


def _results(experiment: Experiment) -> list[str]:
    """Return what is wrong with folders that the run writes to. The job's own folder ends with the job."""
    folders = {
        "run_dir": None if experiment.url else experiment.directory,
        "share_dir": experiment.share_dir,
        "models.cache_dir": experiment.models.cache_dir,
        "teacher.cache": experiment.teacher.cache,
    }
    return [
        f"{key} = '{path}': should be an absolute path on a disk that all machines of the cluster share, as in "
        f"{key}=/shared/{path}; the job's own folder is removed after the job"
        for key, path in folders.items()
        if path is not None and not path.is_absolute()
    ]


def _address(experiment: Experiment) -> list[str]:
    if experiment.cluster.address in (None, "auto"):
        return []
    return [
        f"cluster.address = {experiment.cluster.address!r}: should be empty, since a job joins the cluster that runs it"
    ]


def _files(file: Path, upload: Upload) -> list[str]:
    """Return the files of the experiment that are not uploaded: its own, and those that it extends."""
    missing, at = [], file
    while True:
        if not upload.has(at.absolute()):
            missing.append(
                f"{at}: is not uploaded, since only files below {upload.folder} are: put it there, or go to its folder"
            )
        data = yaml_values.read(at.read_bytes())
        if not isinstance(data, dict) or EXTENDS not in data:
            return missing
        at = at.parent / str(data[EXTENDS])
