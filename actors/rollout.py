"""The rollout worker: an actor with the student's engine, which relays to the shared teacher."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import ClassVar

from actors.answer_counts import AnswerCounts
from actors.engine_host import Activity, EngineHost
from actors.engines.base import Engine, GenerationRequest
from actors.engines.teachers import CountedEngine, TeacherAccess
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import RelayPrompt, chosen_handoff
from actors.relay.loop import all_or_none, relay_all
from actors.relay.planned_calls import Plan
from actors.relay.seeds import derived_seed
from actors.relay.sequence import RelaySetup
from actors.relay.solo import solo
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import EngineSettings, RelayLimits, SamplingSettings
from actors.trajectory import Trajectory, TrajectoryBatch
from cluster.devices import Device
from cluster.metrics.publisher import Publishing, Reading
from cluster.metrics.states import ActorState
from cluster.shared_weights import Weights
from cluster.transfer_actions import TransferAction
from cluster.weight_transport import InFlight


class Policy(StrEnum):
    """Who writes an answer."""

    STUDENT = "student"
    """the student alone: commands are forbidden in decoding"""
    TEACHER = "teacher"
    """the teacher alone, from its own prompt"""
    RELAY = "relay"
    """the student, with calls to the teacher"""
    RANDOM_PLACEMENT = "random_placement"
    """the student, with planned calls at random places instead of its own: the counterfactual of relayed answers"""


@dataclass(frozen=True, slots=True, eq=False)
class RolloutOrder:
    """Prompts to decode, each `samples` times."""

    prompts: tuple[RelayPrompt, ...]
    samples: int
    policy: Policy
    limits: RelayLimits
    sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    version: int | None = None
    """policy version that the worker must hold; the pool sets it when it hands the order out"""
    want_logprobs: bool = False
    plans: tuple[Plan, ...] = ()
    """for the policy `RANDOM_PLACEMENT`, one plan per sample, those of a prompt side by side; empty for other policies"""
    seeds: tuple[int, ...] = ()
    """one seed per prompt, from which its samples' seeds are derived; empty leaves random numbers to the engines"""

    def __post_init__(self) -> None:
        expected = len(self.prompts) * self.samples if self.policy is Policy.RANDOM_PLACEMENT else 0
        if len(self.plans) != expected:
            raise ValueError(
                f"an order of {len(self.prompts)} prompts x {self.samples} samples with the policy {self.policy} has "
                f"{len(self.plans)} plans of calls, but should have {expected}"
            )
        if self.seeds and len(self.seeds) != len(self.prompts):
            raise ValueError(
                f"an order of {len(self.prompts)} prompts has {len(self.seeds)} seeds: give one for each, or none"
            )

    def at_version(self, version: int) -> RolloutOrder:
        """Return the order for this policy version."""
        return replace(self, version=version)

    def sample_seeds(self) -> list[int] | None:
        """Return the seed of each sample, those of a prompt side by side; None if the order has no seeds."""
        if not self.seeds:
            return None
        return [derived_seed(seed, sample) for seed in self.seeds for sample in range(self.samples)]


class StaleWeightsError(RuntimeError):
    """The worker holds other weights than the order asks for, for example after a restart."""


class RolloutWorker(EngineHost):
    """Decodes orders. Every sequence is a task of its own, and all sequences share the two engines' batches."""

    role: ClassVar[str] = "rollout"

    def __init__(
        self,
        student: str,
        student_engine: EngineSettings,
        teacher: TeacherAccess,
        teacher_model: str,
        teacher_engine: EngineSettings,
        device: Device,
        seed: int,
        sleeps: bool = False,
        publishing: Publishing | None = None,
    ) -> None:
        """Start the student's engine. `teacher_model` is where the teacher's tokenizer is."""
        super().__init__(student, student_engine, device, seed, sleeps, publishing)
        from transformers import AutoTokenizer  # imported after the engine, which loads it with garbage collection off

        own = AutoTokenizer.from_pretrained(student, trust_remote_code=False)
        other = AutoTokenizer.from_pretrained(teacher_model, trust_remote_code=False)
        self._tokenizer, teacher_tokenizer = TransformersTokenizer(own), TransformersTokenizer(other)
        engine = teacher.engine(self._tokenizer, number=seed)
        self._served = CountedEngine(engine) if teacher.served is not None else None
        self._teacher: Engine = self._served or engine
        self._teacher_tokenizer = self._tokenizer if teacher.takes_text else teacher_tokenizer
        """decodes what the teacher writes"""
        self._grammar = CommandGrammar(self._tokenizer)
        equal = own.get_vocab() == other.get_vocab()
        self._handoff = chosen_handoff(self._tokenizer, teacher_tokenizer, equal, teacher.takes_text)
        self._student_context_tokens = student_engine.max_model_len
        self._teacher_context_tokens = teacher_engine.max_model_len

    def activity(self) -> Activity:
        """See `EngineHost.activity`. A teacher behind HTTP is no actor, so what it writes for this worker counts here."""
        own = super().activity()
        return own if self._served is None else replace(own, tokens=own.tokens + self._served.tokens)

    @cached_property
    def counts(self) -> AnswerCounts:
        """The answers that the worker has decoded."""
        return AnswerCounts()

    def readings(self) -> Iterator[Reading]:
        """See `EngineHost.readings`."""
        yield from super().readings()
        yield from self.counts.readings()
        if "engine" in vars(self):
            yield Reading("relayllm_policy_version", self.engine.version)

    async def update_weights(self, weights: Weights, version: int, in_flight: InFlight = InFlight.FINISH) -> int:
        """Load `weights` as policy `version`, and return the version. Raises `EngineError`; a dead engine ends the process."""
        with self.states.within(ActorState.SYNCING):
            await self.done_or_dead(self.engine.update_weights(weights, version, in_flight))
        return version

    async def transfer(self, action: TransferAction) -> None:
        """See `VllmEngine.transfer`."""
        with self.states.within(ActorState.SYNCING):
            await self.done_or_dead(self.engine.transfer(action))

    async def rollout(self, order: RolloutOrder) -> TrajectoryBatch:
        """Return the samples of each prompt side by side, in the order of the prompts.

        Raises `StaleWeightsError`, before decoding, if the worker's policy version is not the order's. Raises `EngineError`
        if the student fails, or, for the policy `TEACHER`, the teacher.
        """
        if order.policy is not Policy.TEACHER and self.engine.version != order.version:
            raise StaleWeightsError(
                f"weights are of policy version {self.engine.version}, but the order is for {order.version}"
            )
        counted = 0

        def finished() -> None:
            nonlocal counted
            counted += 1
            self.finished += 1

        try:
            with self.counts.order(len(order.prompts) * order.samples):
                batch = TrajectoryBatch.of(await self._decode(order, finished))
            self.counts.count(batch)
            return batch
        finally:
            self.finished -= counted

    async def _decode(self, order: RolloutOrder, finished: Callable[[], None]) -> list[Trajectory]:
        prompts = [prompt for prompt in order.prompts for _ in range(order.samples)]
        seeds = order.sample_seeds()
        if order.policy is Policy.TEACHER:
            alone = map(self._teacher_alone, prompts, itertools.repeat(order), seeds or itertools.repeat(None))
            return await all_or_none(list(alone), finished)
        plans = order.plans if order.policy is Policy.RANDOM_PLACEMENT else None
        return await relay_all(prompts, self._setup(order), self, self._teacher, plans, seeds, finished)

    async def _teacher_alone(self, prompt: RelayPrompt, order: RolloutOrder, seed: int | None) -> Trajectory:
        room = self._teacher_context_tokens - len(prompt.teacher_ids)
        max_tokens = min(order.limits.max_new_tokens, room)
        request = GenerationRequest(prompt.teacher_context, max_tokens, order.teacher_sampling, seed=seed)
        return solo(prompt.teacher_ids, await self._teacher.generate(request), self._teacher_tokenizer)

    def _setup(self, order: RolloutOrder) -> RelaySetup:
        alone = order.policy is Policy.STUDENT
        return RelaySetup(
            grammar=self._grammar,
            handoff=self._handoff,
            limits=order.limits.model_copy(update={"max_calls": 0}) if alone else order.limits,
            student_sampling=order.sampling,
            teacher_sampling=order.teacher_sampling,
            student_context_tokens=self._student_context_tokens,
            teacher_context_tokens=self._teacher_context_tokens,
            want_logprobs=order.want_logprobs,
        )
