"""The environment variables that a submitted run needs from the machine of its user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.driver_environment import is_of_the_hub
from pipelines.data.settings import BenchmarkSource
from pipelines.experiment.model_paths import given_paths
from pipelines.experiment.schema import Experiment
from pipelines.models.served import key_variables
from pipelines.records.tracking import key_in_netrc, resolve_mode

_TRACKING = ("WANDB_MODE", "WANDB_DISABLED")
_ONLINE = (
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_ENTITY",
    "WANDB_PROJECT",
    "WANDB_RUN_ID",
    "WANDB_RUN_GROUP",
    "WANDB_SWEEP_ID",
)
_STORES = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    )
}
"""variables of a kind of store. Those that name a file, as Google's do, mean nothing on another machine"""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW")
_SHORTEST_SECRET = 8


def needed(experiment: Experiment, environ: Mapping[str, str], others: Sequence[str] = ()) -> dict[str, str]:
    """Return the variables of `environ` that the run needs on a cluster, and those in `others`.

    These are W&B's unless the run has no tracking, the hub's if a model or data set comes from there, the API keys of teachers
    behind HTTP, and the credentials for a `run_dir` in S3. Paths, proxies and certificates of this machine mean nothing on
    another, so they are left out.
    """
    names = {*key_variables(experiment), *others}
    found: dict[str, str] = {}
    if experiment.tracking.mode != "disabled":
        names.update(_TRACKING)
        if resolve_mode(experiment.tracking.mode, environ) == "online":
            names.update(_ONLINE)
            if key := key_in_netrc(environ):
                found["WANDB_API_KEY"] = key
    if experiment.url is not None:
        names.update(_STORES.get(experiment.url.partition("://")[0], ()))
    if _uses_the_hub(experiment):
        names.update(filter(is_of_the_hub, environ))
    return dict(sorted((found | {name: environ[name] for name in names if environ.get(name)}).items()))


def missing_keys(experiment: Experiment, environ: Mapping[str, str]) -> list[str]:
    """Return the variables with API keys of teachers that are not set here."""
    return sorted(name for name in key_variables(experiment) if not environ.get(name))


def secret_in(text: str, values: Mapping[str, str]) -> str | None:
    """Return the name of a variable whose value is a secret and stands in `text`; None if there is none."""
    for name, value in values.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST_SECRET and value in text:
            return name
    return None


def _uses_the_hub(experiment: Experiment) -> bool:
    """Return whether a model or a data set can only come from the Hugging Face hub."""
    data = experiment.data
    return any(
        not Path(path).is_absolute() and not Path(path).is_dir() for path in given_paths(experiment).values()
    ) or any(
        isinstance(source, BenchmarkSource) and source.path is None
        for source in (data.train, *data.warmup, *data.evaluation)
    )
