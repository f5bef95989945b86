"""W&B and a teacher's server: absent, refusing, and answering, over real HTTP on loopback."""

from typing import Any

import pytest

from pipelines.doctor.findings import Finding, Level
from pipelines.doctor.services import store, teachers, wandb
from tests.live import served_in_a_thread
from tests.pipelines.doctor.conftest import demo

KEY = "0123456789" * 4


class Answering:
    """Gives one answer to every request."""

    def __init__(self, body: bytes) -> None:
        self.body, self.seen = body, ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.seen = scope["path"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.body})


def found_by_wandb(**variables: str) -> Finding:
    return wandb(demo("tracking.mode=online"), {"HOME": "/nowhere", **variables})


def test_wandb_online_without_a_key_is_a_warning_with_its_remedy() -> None:
    found = found_by_wandb()
    assert found.level is Level.WARNING and "no key" in found.text and "wandb login" in found.remedy


def test_wandb_offline_or_off_is_fine() -> None:
    for mode in ("offline", "disabled", "auto"):
        assert wandb(demo(f"tracking.mode={mode}"), {"HOME": "/nowhere"}).level is Level.FINE


def test_a_wandb_server_that_is_not_there_is_a_warning(nowhere: str) -> None:
    found = found_by_wandb(WANDB_API_KEY=KEY, WANDB_BASE_URL=f"http://{nowhere}")
    assert found.level is Level.WARNING and f"http://{nowhere} does not answer" in found.text
    assert KEY not in found.text


@pytest.mark.parametrize(
    ("body", "level", "text"),
    [
        (b'{"data": {"viewer": null}}', Level.WARNING, "does not take the key"),
        (b"<html>a proxy's page</html>", Level.WARNING, "does not take the key"),
        (b'{"data": {"viewer": {"username": "ada"}}}', Level.FINE, "as ada"),
    ],
)
def test_the_wandb_server_decides_about_the_key(body: bytes, level: Level, text: str) -> None:
    server = Answering(body)
    with served_in_a_thread(server) as url:
        found = found_by_wandb(WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert server.seen == "/graphql"
    assert found.level is level and text in found.text


TEACHER = ("models.teacher.pretrain=null", "models.teacher.model=big")


def test_a_teacher_whose_server_is_not_there_is_a_problem(nowhere: str) -> None:
    (found,) = teachers(demo(*TEACHER, f"models.teacher.url=http://{nowhere}/v1"), {})
    assert found.level is Level.PROBLEM and nowhere in found.text and "models.teacher.url" in found.remedy


def test_a_teacher_whose_key_is_not_set_is_a_problem_before_it_is_asked(nowhere: str) -> None:
    served = demo(*TEACHER, f"models.teacher.url=http://{nowhere}/v1", "models.teacher.api_key_env=BIG_KEY")
    (found,) = teachers(served, {})
    assert found.level is Level.PROBLEM and "BIG_KEY" in found.text and "export BIG_KEY=" in found.remedy


def test_a_teacher_that_answers_is_fine() -> None:
    listed = b'{"data": [{"id": "big", "max_model_len": 4096}]}'
    with served_in_a_thread(Answering(listed)) as url:
        (found,) = teachers(demo(*TEACHER, f"models.teacher.url={url}/v1"), {})
    assert found.level is Level.FINE and "big at " in found.text


def test_a_teacher_with_too_short_a_context_is_a_problem() -> None:
    listed = b'{"data": [{"id": "big", "max_model_len": 64}]}'
    with served_in_a_thread(Answering(listed)) as url:
        (found,) = teachers(demo(*TEACHER, f"models.teacher.url={url}/v1"), {})
    assert found.level is Level.PROBLEM and "should be at most 64" in found.text


def test_the_store_of_a_run_is_asked_and_a_missing_bucket_is_a_problem_with_its_remedy(url: str) -> None:
    assert list(store(demo())) == []
    [there] = store(demo(f"run_dir={url}"))
    assert there.level is Level.FINE
    [missing] = store(demo("run_dir=s3://nowhere/runs/demo"))
    assert missing.level is Level.PROBLEM
    assert "no such bucket" in missing.text and missing.remedy == "create it, or correct the URL"
