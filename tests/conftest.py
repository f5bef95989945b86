"""Fixtures of the whole suite: one Ray cluster, tiny models, small experiments."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

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
