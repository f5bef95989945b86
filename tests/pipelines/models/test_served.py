"""Teachers behind HTTP, as a run finds them before anything is started."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.engines.endpoint import Mode, UnsuitableServerError, Wire
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.models.base_models import BaseModels, finished_base_models
from pipelines.models.served import key_variables, require_servers, with_served_teachers
from pipelines.run import prompt_builder
from pipelines.system.starting import teacher_access
from tests.engines.openai_server import Reply, stand_in, text_answer

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"


def served(url: str, **more: str) -> str:
    keys = {"pretrain": "null", "url": f"'{url}'", "model": "big", **more}
    return "{" + ", ".join(f"{key}: {value}" for key, value in keys.items()) + "}"


def chats(path: str, body: dict[str, Any]) -> Reply:
    """Answer as a server that continues chats and can do nothing else."""
    if path != "/v1/chat/completions":
        return Reply(404, b"no such path")
    begun = body["messages"][-1]["role"] == "assistant"
    return text_answer("23456", prompt_tokens=10 + begun, chat=True)


def asked(*settings: str) -> tuple[Experiment, BaseModels]:
    """The experiment and its models after the stand-in at URL was asked."""

    async def scenario() -> tuple[Experiment, BaseModels]:
        async with stand_in(chats) as server:
            overrides = [setting.replace("URL", server.url) for setting in settings]
            experiment = load(DEMO, overrides, Experiment)
            models = finished_base_models(experiment)
            assert models is not None
            return experiment, await asyncio.to_thread(with_served_teachers, experiment, models)

    return asyncio.run(scenario())


def test_a_served_teacher_is_known_by_the_way_it_is_asked() -> None:
    experiment, models = asked(f"models.teacher={served('URL')}", "teacher.cache=recorded")
    assert models.served is not None and models.served.wire == Wire(Mode.CHAT)
    assert models.teacher == models.student  # its tokenizer counts
    assert not models.changes_teacher
    access = teacher_access(experiment, models)
    assert access.actors == () and access.takes_text
    assert access.patience.timeout_s == experiment.rollout.deadline_s
    assert access.recording is not None and access.recording.folder == Path("recorded").absolute()
    assert "big" in access.recording.model
    prompts = prompt_builder(models, "")
    assert prompts.teacher_tokenizer.get_vocab() == prompts.student_tokenizer.get_vocab()


def test_only_the_final_teacher_may_be_served() -> None:
    experiment, models = asked(f"evaluation.teacher={served('URL')}", "teacher.replicas=2")
    assert models.served is None and models.final_served is not None
    assert models.changes_teacher
    assert teacher_access(experiment, models).actors == ("teacher-0", "teacher-1")
    final, final_models = experiment.with_final_teacher(), models.with_final_teacher()
    assert teacher_access(final, final_models).served == models.final_served
    assert not final_models.changes_teacher
    cpus = experiment.cluster.cpus_per_actor
    assert experiment.resources()[0] == load(DEMO, ["teacher.replicas=2"], Experiment).resources()[0] == 5 * cpus


def test_two_servers_are_two_teachers_although_they_share_a_tokenizer() -> None:
    _, models = asked(f"models.teacher={served('URL')}", f"evaluation.teacher={served('URL', model='other')}")
    assert models.teacher == models.final_teacher
    assert models.changes_teacher


def test_a_recording_tells_teachers_apart() -> None:
    def recorded(*overrides: str) -> str:
        experiment = load(DEMO, ["teacher.cache=recorded", *overrides], Experiment)
        recording = teacher_access(experiment, BaseModels("s", "t", "t")).recording
        assert recording is not None
        return recording.model

    assert recorded() == recorded("teacher.replicas=2") == recorded("teacher.engine.max_num_seqs=3")
    others = [recorded("models.teacher.pretrain.steps=7"), recorded("teacher.engine.dtype=bfloat16")]
    assert recorded() not in others


def test_the_variables_with_keys_are_those_that_actors_get() -> None:
    settings = [
        f"models.teacher={served('http://a/v1', api_key_env='KEY_A')}",
        f"evaluation.teacher={served('http://b/v1', api_key_env='KEY_B')}",
    ]
    assert key_variables(load(DEMO, settings, Experiment)) == {"KEY_A", "KEY_B"}
    assert key_variables(load(DEMO, [], Experiment)) == set()


def test_a_missing_server_is_told_before_models_are_pretrained() -> None:
    experiment = load(DEMO, [f"models.teacher={served('http://127.0.0.1:9/v1')}"], Experiment)
    with pytest.raises(UnsuitableServerError, match="the teacher's server is not there"):
        require_servers(experiment)
    require_servers(load(DEMO, [], Experiment))
