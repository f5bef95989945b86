"""Fixtures of the whole suite: one Ray cluster, tiny models, small experiments."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.s3_server import S3Server

REPOSITORY = Path(__file__).parent.parent

# A shell that starts the tests in the background, or with nohup, has them and their processes ignore these.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Equal examples at every run, and no limit on their time, which depends on what else the machine does;
# `pytest --hypothesis-profile=explore` draws new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Connect to a local Ray for the session; actors of the tests share its logical CPUs."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=8,
        num_gpus=0,
        namespace="tests",
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(REPOSITORY)}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random tiny Qwen3 with the chain-arithmetic tokenizer."""
    import torch
    from transformers import AutoConfig, Qwen3ForCausalLM

    from actors.tiny_models import TinyModelSettings, write_config, write_tokenizer

    folder = tmp_path_factory.mktemp("tiny-model")
    write_tokenizer(folder, "text")
    write_config(folder, TinyModelSettings())
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(AutoConfig.from_pretrained(folder)).float()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(
            20
        )  # as drawn, the logits are near zero and every comparison of them is weak
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """Yield an S3 server for the session, with one bucket."""
    import s3fs

    from tests.s3_server import BUCKET, S3Server

    server = S3Server()
    client = {"endpoint_url": server.environment["AWS_ENDPOINT_URL"]}
    s3fs.S3FileSystem(key="testing", secret="testing", client_kwargs=client, skip_instance_cache=True).mkdir(BUCKET)
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Yield the session's S3 server, which this process and its children find by their environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    yield s3_server
    s3_server.fails = False
    s3_server.start()


@pytest.fixture
def url(s3: S3Server, tmp_path: Path) -> str:
    """Return a URL below which nothing is yet."""
    from tests.s3_server import BUCKET

    return f"s3://{BUCKET}/{tmp_path.name}/run"
