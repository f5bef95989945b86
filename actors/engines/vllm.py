"""A vLLM engine behind the `Engine` protocol: continuous batching, stepped by a thread of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from actors.engines.base import EngineError, Generation, GenerationRequest, StopReason
from actors.relay.grammar import CALL_CLOSE, banned_text
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import EngineSettings
from cluster.devices import Device

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What an engine has done since it started."""

    steps: int
    busy_s: float
    """time inside engine steps; idle waiting is not in it"""
    generated_tokens: int
    prompt_tokens: int
    cached_prompt_tokens: int
    """prompt tokens that the prefix cache held"""


@dataclass(slots=True)
class _Turn:
    request: GenerationRequest
    version: int
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Generation]


@dataclass(frozen=True, slots=True)
class _Message:
    action: Callable[[], None]
    fail: Callable[[EngineError], object] = lambda error: None
    """tells whoever waits that the action will never be done"""
    needs_drain: bool = False
    """only with no turn in flight; later messages wait behind it"""


class VllmEngine:
    """Owns one `LLMEngine` and the only thread that touches it.

    Calls from any event loop become messages to that thread, which takes them between two engine steps. So requests
    join the running batch at once, and new weights arrive when no token is being computed.
    """

    def __init__(self, model: str, settings: EngineSettings, device: Device, seed: int) -> None:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        on_cpu = device is Device.CPU
        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=model,
                dtype=settings.dtype,
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_num_seqs,
                block_size=settings.block_size,  # type: ignore[arg-type]
                tensor_parallel_size=settings.tensor_parallel,
                gpu_memory_utilization=settings.gpu_memory_utilization,
                enforce_eager=on_cpu or settings.enforce_eager,
                distributed_executor_backend="uni" if settings.tensor_parallel == 1 else "mp",
                enable_prefix_caching=True,
                disable_log_stats=True,
                logprobs_mode="processed_logprobs",
                worker_extension_cls="actors.engines.vllm_worker.WeightReceiver",
                seed=seed,
            )
        )
        tokenizer = TransformersTokenizer(self._engine.get_tokenizer())
        end_ids = tokenizer.encode(CALL_CLOSE)
        self._command_end_id = end_ids[0] if len(end_ids) == 1 else None
        self._banned_text = banned_text(tokenizer)
        self._turns: dict[str, _Turn] = {}
        self._mail: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._after_drain: _Message | None = None
        self._ids = itertools.count()
        self._version = 0
        self._failure: EngineError | None = None
        self._load = EngineLoad(0, 0.0, 0, 0, 0)
        self._thread = threading.Thread(target=self._run, name="vllm-engine", daemon=True)
        self._thread.start()

    @property
    def load(self) -> EngineLoad:
        return self._load

    @property
    def version(self) -> int:
        """Policy version of the weights in use."""
        return self._version

    def check(self) -> None:
        """Raise `EngineError` if the engine has died."""
        if self._failure is not None:
            raise self._failure

    async def generate(self, request: GenerationRequest) -> Generation:
        """Return one turn; cancelling the call aborts the request in the engine."""
        self.check()
        loop = asyncio.get_running_loop()
        turn = _Turn(request, -1, loop, loop.create_future())
        request_id = str(next(self._ids))
        self._mail.put(
            _Message(
                lambda: self._add(request_id, turn),
                fail=lambda error: loop.call_soon_threadsafe(_reject, [turn.done], error),
            )
        )
        if self._failure is not None:
            self._fail_all()
        try:
            return await turn.done
        except asyncio.CancelledError:
            self._mail.put(_Message(lambda: self._abort(request_id)))
            raise

    async def update_weights(self, weights: Mapping[str, np.ndarray], version: int) -> None:
        """Load `weights` as policy `version` once the turns in flight are done; later turns wait for it.

        The prefix cache is emptied: its keys and values belong to the old weights.
        """
        self.check()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def load() -> None:
            try:
                self._load_weights(weights)
                self._version = version
            except Exception as error:  # reported to the caller, whose decision it is
                failure = EngineError(f"loading policy version {version} failed: {error!r}")
                loop.call_soon_threadsafe(_reject, [done], failure)
            else:
                loop.call_soon_threadsafe(_resolve, [(done, None)])

        self._mail.put(
            _Message(load, lambda error: loop.call_soon_threadsafe(_reject, [done], error), needs_drain=True)
        )
        if self._failure is not None:
            self._fail_all()
        await done

    def shutdown(self) -> None:
        """Stop the thread; turns in flight fail with `EngineError`."""
        self._mail.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        try:
            while self._take_mail():
                started = time.perf_counter()
                outputs = self._engine.step()
                self._deliver(cast("list[RequestOutput]", outputs), time.perf_counter() - started)
            self._failure = EngineError("the vLLM engine was shut down")
        except BaseException as error:
            self._failure = EngineError(f"the vLLM engine died: {error!r}")
            self._failure.__cause__ = error
        self._fail_all()

    def _take_mail(self) -> bool:
        """Do what was asked for since the last step, waiting while there is nothing to compute.

        Return False at shutdown. Mail behind a message that needs a drained engine stays unread until it is drained.
        """
        while True:
            busy = self._engine.has_unfinished_requests()
            if self._after_drain is not None:
                if busy:
                    return True
                message, self._after_drain = self._after_drain, None
                message.action()
                continue
            try:
                received = self._mail.get(block=not busy)
            except queue.Empty:
                return True
            if received is None:
                return False
            if received.needs_drain:
                self._after_drain = received
            else:
                received.action()

    def _add(self, request_id: str, turn: _Turn) -> None:
        if turn.done.cancelled():
            return
        turn.version = self._version
        prompt_ids = [int(token) for token in turn.request.prompt_ids]
        try:
            self._engine.add_request(request_id, {"prompt_token_ids": prompt_ids}, self._sampling_params(turn.request))
        except Exception as error:  # a refused request must not end the engine that serves the others
            turn.loop.call_soon_threadsafe(_reject, [turn.done], EngineError(f"vLLM refused the request: {error}"))
        else:
            self._turns[request_id] = turn

    def _abort(self, request_id: str) -> None:
        if self._turns.pop(request_id, None):
            self._engine.abort_request([request_id])

    def _deliver(self, outputs: list[RequestOutput], step_s: float) -> None:
        prompt_tokens = cached_tokens = generated_tokens = 0
        results: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Generation], Generation]]] = {}
        for output in outputs:
            turn = self._turns.pop(output.request_id, None) if output.finished else None
            if turn is None:
                continue
            generation = self._generation(output, turn)
            prompt_tokens += generation.prompt_tokens
            cached_tokens += generation.cached_tokens
            generated_tokens += len(generation.token_ids)
            results.setdefault(turn.loop, []).append((turn.done, generation))
        for loop, resolved in results.items():
            loop.call_soon_threadsafe(_resolve, resolved)
        load = self._load
        self._load = EngineLoad(
            steps=load.steps + 1,
            busy_s=load.busy_s + step_s,
            generated_tokens=load.generated_tokens + generated_tokens,
            prompt_tokens=load.prompt_tokens + prompt_tokens,
            cached_prompt_tokens=load.cached_prompt_tokens + cached_tokens,
        )

    def _fail_all(self) -> None:
        """Tell everyone who still waits; also called by those who come after the engine's end."""
        assert self._failure is not None
        turns, self._turns = self._turns, {}
        for turn in turns.values():
            turn.loop.call_soon_threadsafe(_reject, [turn.done], self._failure)
        waiting, self._after_drain = self._after_drain, None
        while waiting is not None or not self._mail.empty():
            if waiting is not None:
                waiting.fail(self._failure)
            waiting = None if self._mail.empty() else self._mail.get()

    def _sampling_params(self, request: GenerationRequest) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        stop_text = request.stop_after_command and self._command_end_id is None
        return SamplingParams(
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            top_k=request.sampling.top_k,
            max_tokens=request.max_tokens,
            logprobs=0 if request.want_logprobs else None,
            flat_logprobs=True,
            stop=[CALL_CLOSE] if stop_text else None,
            stop_token_ids=[self._command_end_id] if request.stop_after_command and not stop_text else None,
            include_stop_str_in_output=True,
            detokenize=stop_text,
            bad_words=[self._banned_text] if request.forbid_commands else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _generation(self, output: RequestOutput, turn: _Turn) -> Generation:
        completion = output.outputs[0]
        tokens = np.asarray(completion.token_ids, np.int32)
        logprobs = np.zeros(len(tokens), np.float32)
        if completion.logprobs is not None:
            flat = completion.logprobs
            logprobs[:] = np.asarray(flat.logprobs, np.float32)[np.asarray(flat.start_indices)]  # type: ignore[union-attr]
        stop = StopReason.LENGTH
        if completion.finish_reason == "stop":
            command = completion.stop_reason is not None and completion.stop_reason in (
                CALL_CLOSE,
                self._command_end_id,
            )
            stop = StopReason.COMMAND if command else StopReason.END_OF_TEXT
        return Generation(
            token_ids=tokens,
            logprobs=logprobs,
            versions=np.full(len(tokens), turn.version, np.int32),
            stop=stop,
            prompt_tokens=len(turn.request.prompt_ids),
            cached_tokens=output.num_cached_tokens or 0,
        )

    def _load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        import torch
        from safetensors.torch import save_file

        tied = self._engine.model_config.hf_config.tie_word_embeddings
        arrays = {name: array for name, array in weights.items() if not (tied and name == "lm_head.weight")}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors = {name: t.view(torch.bfloat16) if t.dtype == torch.uint16 else t for name, t in tensors.items()}
        shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(prefix="relay-weights-", dir=shared_memory) as folder:
            path = Path(folder) / "weights.safetensors"
            save_file(tensors, path)
            self._engine.collective_rpc("receive_weights", args=(str(path),))
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("the prefix cache could not be emptied")


def _resolve(results: list[tuple[asyncio.Future[T], T]]) -> None:
    for future, result in results:
        if not future.done():
            future.set_result(result)


def _reject(futures: list[asyncio.Future[T]], error: EngineError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
