"""Checks that the models of a run are there: folders, names on the hub, and data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.data.benchmarks import BENCHMARKS
from pipelines.data.settings import BenchmarkSource
from pipelines.data.sources import DataError, check_local_sources
from pipelines.doctor.checks import first_line
from pipelines.doctor.children import told_by
from pipelines.doctor.findings import Finding, Group, broken, fine, warning
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.model_paths import given_paths, located
from pipelines.experiment.schema import Experiment

HUB_LIMIT_S = 120.0
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def model_folders(experiment: Experiment) -> Iterator[Finding]:
    """Yield whether each model that has a path has a folder with weights here. Names on the hub are left to `on_hub`."""
    for key, path in given_paths(experiment).items():
        of_tokenizer = key.endswith(".tokenizer")
        try:
            folder = Path(located(key, path, of_tokenizer))
        except ConfigError as error:
            text = str(error).partition(": ")[2]
            yield broken(Group.MODELS_AND_DATA, key, text, f"correct {key}, or copy the model there")
            continue
        if not folder.is_absolute():
            continue
        yield fine(Group.MODELS_AND_DATA, key, str(folder))


def hub_models(experiment: Experiment) -> dict[str, str]:
    """Return the models that can only be names on the hub, by key."""
    found = {}
    for key, path in given_paths(experiment).items():
        try:
            if not Path(located(key, path, key.endswith(".tokenizer"))).is_absolute():
                found[key] = path
        except ConfigError:  # `model_folders` reports it
            continue
    return found


def hub_data(experiment: Experiment) -> dict[str, tuple[str, str | None]]:
    """Return name and configuration of the data sets that come from the hub, by key."""
    data = experiment.data
    sources = {"data.train": data.train} | {f"data.evaluation.{i}": source for i, source in enumerate(data.evaluation)}
    if experiment.warmup.enabled:
        sources |= {f"data.warmup.{i}": source for i, source in enumerate(data.warmup)}
    benchmarks = {
        key: BENCHMARKS[source.name]
        for key, source in sources.items()
        if isinstance(source, BenchmarkSource) and source.path is None
    }
    return {key: (benchmark.hub, benchmark.config) for key, benchmark in benchmarks.items()}


def on_hub(experiment: Experiment) -> Iterator[Finding]:
    """Yield whether each model and data set of the hub can be reached, or is in the hub's cache."""
    models, data = hub_models(experiment), hub_data(experiment)
    if not models and not data:
        return
    wanted = [f"model={name}" for name in dict.fromkeys(models.values())]
    wanted += [f"data={name}={config or ''}" for name, config in dict.fromkeys(data.values())]
    told = told_by("pipelines.doctor.hub_probe", wanted, HUB_LIMIT_S)
    names = {key: f"model={name}" for key, name in models.items()}
    names |= {key: f"data={name}={config or ''}" for key, (name, config) in data.items()}
    for key, name in names.items():
        yield _of_hub(key, name.split("=")[1], told.facts.get(name), told.failure)


def _of_hub(key: str, name: str, found: dict[str, str] | None, failure: str | None) -> Finding:
    """Return a finding on one name. `found` has `cached` if it is in the cache, and `error` if the hub does not give it."""
    if found is None:
        text = f"{name} on the hub: {failure or 'no answer'}"
        return warning(Group.MODELS_AND_DATA, key, text, "check the way to the hub: HTTPS_PROXY, HF_ENDPOINT")
    if "error" not in found:
        return fine(
            Group.MODELS_AND_DATA, key, f"{name} {'is in the cache' if found.get('cached') else 'is on the hub'}"
        )
    error = first_line(found["error"])
    if found.get("cached"):
        text = f"{name} is in the cache; the hub does not answer: {error}"
        return warning(
            Group.MODELS_AND_DATA, key, text, "set HF_HUB_OFFLINE=1, so that the run does not wait for the hub"
        )
    offline = next((variable for variable in _OFFLINE if os.environ.get(variable)), None)
    if offline:
        text = f"{name} is not in the cache, and {offline} is set"
        remedy = f"unset {offline}, or download it first: hf download {name}; or give a local path"
    elif "gated" in error.lower() or "401" in error or "403" in error:
        text = f"{name}: the hub refuses it: {error}"
        remedy = f"accept its licence at https://huggingface.co/{name}, and set HF_TOKEN"
    else:
        text = f"{name} is no folder, and the hub does not give it: {error}"
        remedy = "check the name, HF_ENDPOINT and HTTPS_PROXY; without a way to the hub, give a local path"
    return broken(Group.MODELS_AND_DATA, key, text, remedy)


def local_data(experiment: Experiment) -> Iterator[Finding]:
    """Yield whether the data sources that have a path can be read, row by row."""
    try:
        check_local_sources(experiment.data, experiment.warmup.enabled)
    except DataError as error:
        key, _, text = first_line(error).partition(": ")
        yield broken(Group.MODELS_AND_DATA, key, text, f"correct the file, or {key}.path")
        return
    sources = (experiment.data.train, *experiment.data.warmup, *experiment.data.evaluation)
    paths = [str(path) for source in sources if (path := getattr(source, "path", None)) is not None]
    if paths:
        yield fine(Group.MODELS_AND_DATA, "data files", f"{', '.join(dict.fromkeys(paths))} can be read")


def made_here(experiment: Experiment) -> Iterator[Finding]:
    """Yield a line if the run needs no model or data set from elsewhere."""
    if not given_paths(experiment) and not hub_data(experiment):
        yield fine(Group.MODELS_AND_DATA, "models", "come with the package, or the run pretrains them")
