"""Teachers behind HTTP: their servers are asked, before anything is started, how they can be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from actors.engines.endpoint import EndpointSettings
from cluster.loading import loading
from pipelines.experiment.schema import Experiment
from pipelines.models.base_models import BaseModels

if TYPE_CHECKING:
    from actors.engines.teachers import ServedTeacher


def servers(experiment: Experiment) -> Iterator[EndpointSettings]:
    """Yield the servers of the run's teachers, each once."""
    first, final = experiment.models.teacher.endpoint, experiment.with_final_teacher().models.teacher.endpoint
    if first is not None:
        yield first
    if final is not None and final != first:
        yield final


def key_variables(experiment: Experiment) -> set[str]:
    """Return the names of the environment variables that hold API keys of teachers."""
    return {server.api_key_env for server in servers(experiment) if server.api_key_env is not None}


def require_servers(experiment: Experiment) -> None:
    """Raise `UnsuitableServerError` if a teacher's server is not there, or does not take the API key."""
    for server in servers(experiment):
        from actors.engines.openai_probe import reached

        reached(server, experiment.teacher.engine.max_model_len)


def with_served_teachers(experiment: Experiment, models: BaseModels) -> BaseModels:
    """Return the models with their teachers behind HTTP, as their servers can be asked. Raises `UnsuitableServerError`."""
    context_tokens = experiment.teacher.engine.max_model_len

    def served(server: EndpointSettings | None, tokenizer: str) -> ServedTeacher | None:
        if server is None:
            return None
        with loading():
            from transformers import AutoTokenizer

        from actors.engines.openai_probe import detected
        from actors.engines.teachers import ServedTeacher

        loaded = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
        return ServedTeacher(server, detected(server, loaded, context_tokens))

    first, final = experiment.models.teacher.endpoint, experiment.with_final_teacher().models.teacher.endpoint
    found = served(first, models.teacher)
    return replace(models, served=found, final_served=found if final == first else served(final, models.final_teacher))
