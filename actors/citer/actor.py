"""The CITER actor: it routes single tokens between its student and the shared teacher, and trains the router."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from actors.answer_counts import AnswerCounts
from actors.citer.decoding import RoutedDecoder, RoutedPolicy, require_equal_vocabularies
from actors.citer.fitting import RouterFit, fit_router
from actors.citer.labels import Label, LabelledTokens, Reference, label_tokens, student_choices
from actors.citer.router import TokenRouter, load_router, save_router
from actors.citer.settings import RouterSettings
from actors.citer.student import SteppedStudent, load_student
from actors.engines.base import Engine
from actors.engines.teachers import TeacherAccess
from actors.relay.handoff import RelayPrompt
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import EngineSettings, SamplingSettings
from actors.trajectory import TrajectoryBatch
from cluster.devices import Device
from cluster.metrics.publisher import Publishing, publish_actor
from cluster.metrics.states import ActorState, StateClock
from cluster.names import title_of_actor
from cluster.stacks import show_stacks_on_signal


@dataclass(frozen=True, slots=True, eq=False)
class CiterOrder:
    """Prompts to decode, each `samples` times. The router decides which tokens the teacher writes."""

    prompts: tuple[RelayPrompt, ...]
    samples: int
    router: str | None
    """the router's folder; None lets the student write alone"""
    threshold: float
    sampling: SamplingSettings
    teacher_sampling: SamplingSettings
    max_new_tokens: int
    teacher_timeout_s: float
    seed: int = 0
    begun: tuple[tuple[int, ...], ...] = ()
    """for each prompt, token ids that its answers begin with, recorded as the student's; empty if answers begin with nothing"""

    def at_version(self, version: int) -> CiterOrder:
        """Return the order itself: CITER's student does not change."""
        return self


class CiterActor:
    """Its models are its only state, so Ray may restart it and repeat a call."""

    def __init__(
        self,
        student: str,
        student_engine: EngineSettings,
        teacher: TeacherAccess,
        teacher_model: str,
        teacher_engine: EngineSettings,
        device: Device,
        max_sequences: int,
        publishing: Publishing | None = None,
    ) -> None:
        """Load the student. `teacher_model` is where the teacher's tokenizer is.

        Raises `VocabularyError` if the two models do not share one vocabulary.
        """
        from transformers import AutoTokenizer

        show_stacks_on_signal()
        self._states, self._counts = StateClock("citer"), AnswerCounts()
        publish_actor(publishing, self._states.readings, self._counts.readings)
        own = AutoTokenizer.from_pretrained(student, trust_remote_code=False)
        other = AutoTokenizer.from_pretrained(teacher_model, trust_remote_code=False)
        require_equal_vocabularies(own.get_vocab(), other.get_vocab())
        self._device = torch.device(device.torch_name)
        self._model = load_student(student, getattr(torch, student_engine.dtype), self._device)
        tokenizer = TransformersTokenizer(own)
        self._teacher: Engine = teacher.engine(tokenizer)
        ends = self._model.generation_config.eos_token_id
        self._decoder = RoutedDecoder(
            student=SteppedStudent(self._model, max_sequences),
            teacher=self._teacher,
            tokenizer=tokenizer,
            end_ids={tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [] if ends is None else [ends])},
            student_context_tokens=student_engine.max_model_len,
            teacher_context_tokens=teacher_engine.max_model_len,
        )
        self._routers: dict[str, TokenRouter] = {}

    def __repr__(self) -> str:
        return title_of_actor(type(self).__name__)

    async def ready(self) -> int:
        """Return the process id; answering means that the student is loaded."""
        return os.getpid()

    async def rollout(self, order: CiterOrder) -> TrajectoryBatch:
        """Return the samples of each prompt side by side, in the order of the prompts.

        Raises `RouterError` if the router cannot be used.
        """
        policy = RoutedPolicy(
            router=None if order.router is None else self._router(order.router),
            threshold=order.threshold,
            sampling=order.sampling,
            teacher_sampling=order.teacher_sampling,
            max_new_tokens=order.max_new_tokens,
            teacher_timeout_s=order.teacher_timeout_s,
            seed=order.seed,
        )
        prompts = [prompt for prompt in order.prompts for _ in range(order.samples)]
        begun = [start for start in order.begun for _ in range(order.samples)]
        with self._states.within(ActorState.WRITING), self._counts.order(len(prompts)):
            batch = TrajectoryBatch.of(await self._decoder.decode(prompts, policy, begun))
        self._counts.count(batch)
        return batch

    async def label(self, references: tuple[Reference, ...], teacher_timeout_s: float) -> LabelledTokens:
        """Return all tokens of the references, labelled as far as that needs no rollout.

        Raises `EngineError` if the teacher fails.
        """
        hidden, choice = await asyncio.to_thread(student_choices, self._model, references)
        return await label_tokens(references, hidden, choice, self._teacher, teacher_timeout_s)

    async def fit(
        self, tokens: LabelledTokens, label: np.ndarray, settings: RouterSettings, seed: int, folder: str
    ) -> RouterFit:
        """Train a router on the decided rows of `label` [M], write it to `folder`, and return how training went.

        Raises `NothingToLearnError` if too few rows are decided.
        """
        with self._states.within(ActorState.LEARNING):
            return await asyncio.to_thread(self._fit, tokens, label, settings, seed, folder)

    def _fit(
        self, tokens: LabelledTokens, label: np.ndarray, settings: RouterSettings, seed: int, folder: str
    ) -> RouterFit:
        rows = np.flatnonzero(label != Label.UNDECIDED)
        router, fit = fit_router(
            torch.from_numpy(tokens.hidden[rows]).to(self._device),
            torch.from_numpy(label[rows] == Label.STUDENT).to(self._device),
            torch.from_numpy(tokens.solution[rows]),
            settings,
            seed,
        )
        save_router(router, Path(folder))
        self._routers.pop(folder, None)
        return fit

    def _router(self, folder: str) -> TokenRouter:
        if folder not in self._routers:
            self._routers[folder] = load_router(Path(folder), self._device, self._model.config.hidden_size)
        return self._routers[folder]
