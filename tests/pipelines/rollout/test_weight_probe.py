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
from pipelines.rollout.weight_probe import WeightProbe, WeightsDifferError

pytestmark = pytest.mark.ray

PROMPTS = [[5, 6, 7], [8]]
WRITTEN = {3: [1, 2], 1: [3]}
"""what every engine writes after a prompt of this length"""


class Engine:
    def __init__(self, off_by: float) -> None:
        self.off_by = off_by

    async def set(self, off_by: float) -> None:
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

    def logprobs(self, text: TokenSequences) -> Any:
        return np.where(text.loss_mask, -text.token_ids / 4, 0).astype(np.float32)


@pytest.fixture
def probe_of(ray_cluster: None) -> Iterator[Any]:
    started: list[Any] = []

    def probe(off_by: Sequence[float], bound: float = 0.2) -> WeightProbe:
        engines = [ray.remote(Engine).options(num_cpus=0).remote(each) for each in off_by]
        started.extend(engines)
        named = {f"rollout-{number}": actor for number, actor in enumerate(engines)}
        return WeightProbe(Learner(), SimpleNamespace(named_engines=named, deadline_s=60.0), bound)  # type: ignore[arg-type]

    yield probe
    for actor in started:
        ray.kill(actor)


def test_each_workers_gap_is_the_mean_over_its_own_tokens(probe_of: Any) -> None:
    probe = probe_of([0.0, -0.5, 0.125])
    assert probe.gaps() == {"rollout-0": 0.0, "rollout-1": 0.5, "rollout-2": 0.125}


def settled(probe: WeightProbe, *syncs: list[float]) -> tuple[int, list[str]]:
    """Settle after as many syncs, with these gaps after the first and after a second one; return the sends and who was replaced."""
    sent: list[int] = []
    replaced: list[str] = []
    probe.pool.replace = replaced.append  # type: ignore[method-assign]

    def engines(off_by: list[float]) -> None:
        for actor, each in zip(probe.pool.named_engines.values(), off_by, strict=True):
            ray.get(actor.set.remote(each))

    for before, after in zip(syncs[::2], syncs[1::2], strict=True):
        engines(before)

        def send(after: list[float] = after) -> None:
            sent.append(1)
            engines(after)

        probe.settle(send)
    return len(sent), replaced


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([0.0, 0.1], [0.0, 0.0], (0, [])),
        ([0.5, 0.0], [0.0, 0.0], (1, [])),
        ([0.5, 0.0], [0.5, 0.0], (1, ["rollout-0"])),
        ([float("nan"), 0.0], [float("nan"), 0.0], (1, ["rollout-0"])),
        ([0.5, 0.5], [0.5, 0.5], (1, ["rollout-0", "rollout-1"])),
    ],
)
def test_weights_are_sent_again_and_then_the_worker_is_replaced(
    probe_of: Any, before: list[float], after: list[float], expected: tuple[int, list[str]]
) -> None:
    assert settled(probe_of([0.0, 0.0]), before, after) == expected


def test_engines_that_all_differ_again_after_they_were_replaced_end_the_run(probe_of: Any) -> None:
    far = [0.5, 0.5]
    with pytest.raises(
        WeightsDifferError, match=r"0.5 nats \(rollout-0\), 0.5 nats \(rollout-1\), and rollout.probe_gap allows 0.2"
    ):
        settled(probe_of([0.0, 0.0]), far, far, far, far)
    near = [0.0, 0.0]
    assert settled(probe_of([0.0, 0.0]), far, far, near, near, far, far)[0] == 2


def test_a_worker_that_is_gone_is_left_out(probe_of: Any) -> None:
    probe = probe_of([0.0, 0.0])
    ray.kill(probe.pool.named_engines["rollout-0"])
    assert probe.gaps() == {"rollout-1": 0.0}
    ray.kill(probe.pool.named_engines["rollout-1"])
    assert probe.gaps() == {}
