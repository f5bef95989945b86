"""Engines compared with the learner: scripted log-probs, on real Ray. `tests/pipelines/test_torn_weights.py` has a real run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from actors.engines.base import Generation, GenerationRequest, StopReason
from actors.learner.batches import TokenSequences
from pipelines.rollout.weight_probe import WeightProbe

pytestmark = pytest.mark.ray

PROMPTS = [[5, 6, 7], [8]]
WRITTEN = {3: [1, 2], 1: [3]}
"""what every engine writes after a prompt of this length"""


class Engine:
    def __init__(self, off_by: float) -> None:
        self.off_by = off_by

    async def generate(self, request: GenerationRequest) -> Generation:
        assert request.want_logprobs and request.sampling.temperature == 1.0
        ids = np.array(WRITTEN[len(request.prompt_ids)], np.int32)
        logprobs = np.array(-ids / 4 + self.off_by, np.float32)
        return Generation(ids, logprobs, np.zeros_like(ids), StopReason.LENGTH, len(request.prompt_ids), 0)


class Learner:
    """Scores token i with -i / 4."""

    def probe_text(self) -> TokenSequences:
        return TokenSequences.of_prompts_and_targets(PROMPTS, [[], []])

    def logprobs(self, text: TokenSequences, seconds: float) -> Any:
        return np.where(text.loss_mask, -text.token_ids / 4, 0).astype(np.float32)


@pytest.fixture
def probe_of(ray_cluster: None) -> Iterator[Any]:
    started: list[Any] = []

    def probe(off_by: Sequence[float], bound: float = 0.2) -> WeightProbe:
        engine = ray.remote(Engine).options(num_cpus=0)
        started.extend(engine.remote(each) for each in off_by)
        named = {f"rollout-{number}": actor for number, actor in enumerate(started)}
        return WeightProbe(Learner(), SimpleNamespace(named_engines=named, deadline_s=60.0), bound)  # type: ignore[arg-type]

    yield probe
    for actor in started:
        ray.kill(actor)


def test_each_workers_gap_is_the_mean_over_its_own_tokens(probe_of: Any) -> None:
    probe = probe_of([0.0, -0.5, 0.125])
    assert probe.gaps() == {"rollout-0": 0.0, "rollout-1": 0.5, "rollout-2": 0.125}
    assert probe.differing() == ["rollout-1"]


def test_a_log_prob_that_is_no_number_differs(probe_of: Any) -> None:
    assert probe_of([float("nan"), 0.0]).differing() == ["rollout-0"]


def test_a_worker_that_is_gone_is_left_out(probe_of: Any) -> None:
    probe = probe_of([0.0, 0.0])
    ray.kill(probe.pool.named_engines["rollout-0"])
    assert probe.gaps() == {"rollout-1": 0.0}
    ray.kill(probe.pool.named_engines["rollout-1"])
    assert probe.gaps() == {}
