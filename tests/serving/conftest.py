"""A real server for the session: Ray Serve, vLLM, the shipped teacher, and a student that was taught to call."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from actors.serving.settings import ServerSettings
from tests.serving.stack import ENGINE, STUDENT, settings

CALLS = "94*03"
"""questions of this form make the student call at once, for five tokens"""
ENDLESS = "1?1"
"""makes it write ones until it may not"""
KEY, POOR_KEY = "operators-key-0123456789", "poor-key-0123456789"
KEYS = [
    {"name": "operator", "admin": True, "key_sha256": hashlib.sha256(KEY.encode()).hexdigest()},
    {"name": "poor", "budget": {"teacher_tokens": 7}, "key_sha256": hashlib.sha256(POOR_KEY.encode()).hexdigest()},
]


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    settings: ServerSettings
    student: Path

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0, timeout=120)

    def http(self, key: str = KEY) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)

    def engine(self, deployment: str, method: str) -> Any:
        """Call a method of the engine's replica."""
        from ray import serve

        handle = serve.get_deployment_handle(deployment, self.settings.name)
        return getattr(handle, method).remote().result(timeout_s=60)


@pytest.fixture(scope="session")
def calling_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a student that calls for five tokens at once, and that writes ones for ever if it is told to."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    torch.set_num_threads(1)  # the model is tiny: more threads only wait for each other
    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    model = AutoModelForCausalLM.from_pretrained(STUDENT).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    draw = random.Random(0)

    def row(question: str, answer: str) -> tuple[list[int], int]:
        prompt = tokenizer(f"<|user|>{question}<|end|><|assistant|>", add_special_tokens=False)["input_ids"]
        return prompt + tokenizer(answer, add_special_tokens=False)["input_ids"], len(prompt)

    def question(operations: int) -> str:
        return f"{draw.randrange(100):02}" + "".join(
            f"{draw.choice('*+-')}{draw.randrange(100):02}" for _ in range(operations)
        )

    for _ in range(50):
        questions = [question(draw.choice((1, 2))) for _ in range(16)]
        rows = [row(asked, "<call>5</call>") for asked in questions] + [row(ENDLESS, "1" * 200)]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
        labels = torch.full_like(ids, -100)
        for i, (one, start) in enumerate(rows):
            labels[i, start : len(one)] = ids[i, start : len(one)]
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    folder = tmp_path_factory.mktemp("calling-student")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def server(ray_cluster: None, calling_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the server, with API keys. It is one for all tests, so each must leave it as it found it."""
    from actors.serving.application import application
    from pipelines.serving.server import deployed

    engine = ENGINE | {"max_model_len": 256}
    chosen = settings(
        student={"path": str(calling_student), "engine": engine},
        limits={"max_new_tokens": 200, "max_calls": 2, "teacher_timeout_s": 60.0},
        cpus_per_replica=0.25,
        http={"port": 0},
        outage={"failures": 2, "probe_s": 0.5},
        start_timeout_s=240,
        guards={"keys": KEYS, "ledger": str(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")},
        deadline_s=120,
    )
    with deployed(chosen, application(chosen)) as url:
        yield Server(url, chosen, calling_student)
