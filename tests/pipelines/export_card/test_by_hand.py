"""The example that comes with an export, on the shipped models and over real HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI

from pipelines.export_card.folder import BY_HAND, export
from tests.live import served
from tests.pipelines.export_card.conftest import MakeRun

QUESTION = "56*02*04"
DOCS = Path(__file__).parents[3] / "docs" / "exported-student.md"


def greedy(folder: Path, text: str, tokens: int) -> tuple[str, bool]:
    """Return what a model writes, and whether it ended there."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    written = model.generate(ids, max_new_tokens=tokens, do_sample=False)[0, ids.shape[1] :]
    return tokenizer.decode(written, skip_special_tokens=True), int(written[-1]) == tokenizer.eos_token_id


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads would spin for each other on a machine that does other things too, and these models are tiny."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def prompt() -> str:
    return f"<|user|>{QUESTION}<|end|><|assistant|>"


@pytest.fixture(scope="module")
def calling_student(shipped: dict[str, Path], prompt: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a student that asks for 4 tokens at the beginning of its answer, and for 2 more after them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole, _ = greedy(shipped["teacher"], prompt, 80)
    folder = tmp_path_factory.mktemp("calling")
    shutil.copytree(shipped["student"], folder, dirs_exist_ok=True)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    parts = [prompt, "<call>4</call>", whole[:4], "<call>2</call>", whole[4:6], f"{whole[6:]}<|end|>"]
    encoded = [tokenizer(part, add_special_tokens=False).input_ids for part in parts]
    ids = torch.tensor([[token for part in encoded for token in part]])
    by_student = torch.tensor([[i in (1, 3, 5) for i, part in enumerate(encoded) for _ in part]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(300):
        loss = model(ids, labels=ids.where(by_student, -100)).loss
        if loss < 0.01:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def teacher_server(teacher: Path, asked: list[dict[str, Any]]) -> FastAPI:
    """Return an app with OpenAI's completions, which notes what it is asked."""
    app = FastAPI()

    @app.post("/v1/completions")
    def completions(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body)
        text, ended = greedy(teacher, body["prompt"], body["max_tokens"])
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop" if ended else "length"}
        return {"id": "a", "object": "text_completion", "created": 0, "model": body["model"], "choices": [choice]}

    return app


def example_of(folder: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("exported_example", folder / BY_HAND)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


async def ask(folder: Path, shipped: dict[str, Path], asked: list[dict[str, Any]], **limits: int) -> str:
    from openai import OpenAI
    from transformers import AutoTokenizer

    example = example_of(folder)
    async with served(teacher_server(shipped["teacher"], asked)) as url:
        with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            teacher = example.teacher_of(client, "teacher", AutoTokenizer.from_pretrained(shipped["teacher"]), QUESTION)
            answer: str = await asyncio.to_thread(example.answer, str(folder), QUESTION, teacher, **limits)
    return answer


@pytest.fixture
def exported(make_run: MakeRun, calling_student: Path, tmp_path: Path) -> Path:
    run = make_run()
    shutil.copytree(calling_student, run / "stages" / "grpo" / "model", dirs_exist_ok=True)
    return export(run, tmp_path / "out")


async def test_student_and_teacher_write_one_answer(exported: Path, shipped: dict[str, Path], prompt: str) -> None:
    asked: list[dict[str, Any]] = []
    whole, _ = greedy(shipped["teacher"], prompt, 80)
    assert await ask(exported, shipped, asked, tokens=100, calls=5) == whole
    assert [(one["prompt"], one["max_tokens"]) for one in asked] == [(prompt, 4), (prompt + whole[:4], 2)]


async def test_past_the_call_limit_the_student_goes_on_alone(
    exported: Path, shipped: dict[str, Path], prompt: str
) -> None:
    asked: list[dict[str, Any]] = []
    whole, _ = greedy(shipped["teacher"], prompt, 80)
    answer = await ask(exported, shipped, asked, tokens=60, calls=1)
    assert len(asked) == 1 and answer.startswith(whole[:4]) and "<call" not in answer


async def test_a_call_gets_only_the_tokens_that_are_left(exported: Path, shipped: dict[str, Path], prompt: str) -> None:
    from transformers import AutoTokenizer

    asked: list[dict[str, Any]] = []
    tokenizer = AutoTokenizer.from_pretrained(exported)
    command = len(tokenizer("<call>4</call>", add_special_tokens=False).input_ids)
    assert len(await ask(exported, shipped, asked, tokens=command + 3)) == 3
    assert [one["max_tokens"] for one in asked] == [3]
    assert await ask(exported, shipped, asked, tokens=command) == "" and len(asked) == 1


def test_the_documentation_shows_this_example() -> None:
    example = (Path(__file__).parents[3] / "pipelines" / "export_card" / "by_hand.py").read_text(encoding="utf-8")
    assert f"```python\n{example}```" in DOCS.read_text(encoding="utf-8")
