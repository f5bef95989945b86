"""A student whose vocabulary is not the teacher's, on a real server: its answers are those of the same student with equal ids."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from pipelines.client.server import server_for
from tests.serving.conftest import CALLS, Server

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]

QUESTIONS = [CALLS, "58+99", "12*34+56"]


def with_other_ids(student: Path, folder: Path) -> None:
    """Write the same model with other ids for the digits to `folder`: every token keeps its row of the embedding."""
    import torch
    from transformers import AutoModelForCausalLM

    shutil.copytree(student, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    old = dict(tokenizer["model"]["vocab"])
    new = {digit: old[after] for digit, after in zip("0123456789", "1234567890", strict=True)}
    tokenizer["model"]["vocab"] = old | new
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    model = AutoModelForCausalLM.from_pretrained(student)
    rows = model.get_input_embeddings().weight
    before = rows.detach().clone()
    with torch.no_grad():
        for digit, id in new.items():
            rows[id] = before[old[digit]]
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def other(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """Return a client of a second server on a Ray of its own."""
    folder = tmp_path_factory.mktemp("other-vocabulary")
    with_other_ids(server.student, folder / "student")
    data = server.settings.model_dump(mode="json", exclude_unset=True, exclude={"guards", "http"})
    data["student"]["path"] = str(folder / "student")
    (folder / "server.yaml").write_text(yaml.safe_dump(data | {"name": "other", "http": {"port": 1}}))
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("RAY_ADDRESS", raising=False)
        with server_for(str(folder / "server.yaml")) as url:
            yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def asked(client: openai.OpenAI, model: str, question: str, **relay: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    create: Any = client.chat.completions.create
    return create(model=model, messages=messages, temperature=0.0, extra_body={"relay": relay}).choices[0]


@pytest.mark.parametrize("question", QUESTIONS)
def test_text_writers_and_calls_are_those_of_equal_vocabularies(
    server: Server, other: openai.OpenAI, question: str
) -> None:
    equal, text = asked(server.client(), server.settings.name, question), asked(other, "other", question)
    assert text.message.content == equal.message.content
    assert text.relay["spans"] == equal.relay["spans"]
    assert text.relay["calls"]
    for one, same in zip(text.relay["calls"], equal.relay["calls"], strict=True):
        for key in ("start", "end", "requested", "written", "ending"):
            assert one[key] == same[key]
    for key in ("student_tokens", "teacher_tokens", "call_ratio"):
        assert text.relay[key] == equal.relay[key]


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_a_budget_holds_to_the_token(other: openai.OpenAI, tokens: int) -> None:
    assert asked(other, "other", CALLS, max_teacher_tokens=tokens).relay["teacher_tokens"] == tokens


def test_a_stream_is_the_plain_answer(other: openai.OpenAI) -> None:
    plain = asked(other, "other", CALLS)
    create: Any = other.chat.completions.create
    messages = [{"role": "user", "content": CALLS}]
    chunks = [chunk.choices[0] for chunk in create(model="other", messages=messages, temperature=0.0, stream=True)]
    assert "".join(chunk.delta.content or "" for chunk in chunks) == plain.message.content
    assert chunks[-1].relay["spans"] == plain.relay["spans"]
