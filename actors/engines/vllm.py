"""A vLLM engine behind the `Engine` protocol. It batches continuously, and a thread of its own runs its steps."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, assert_never, cast

import numpy as np

from actors.engines.base import EngineError, Generation, GenerationRequest, OnTokens, StopReason
from actors.engines.engine_memory import EngineMemory
from actors.engines.engine_thread import ANY_PHASE, WRITING, EngineThread, Phase, reject, resolve
from actors.engines.following import Follower, tell
from actors.engines.live_weights import LiveWeights, token_versions
from actors.engines.occupancy import core_is_apart, occupancy_of
from actors.relay.grammar import CALL_CLOSE, CommandGrammar
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import EngineSettings
from cluster.devices import Device, forget_kv_cache_variable
from cluster.loading import loading
from cluster.shared_weights import Weights
from cluster.transfer_actions import Begin, End, Join, Receive, TransferAction
from cluster.weight_transport import InFlight

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

_WEIGHTS = frozenset({Phase.WRITING, Phase.WEIGHTS_AWAKE})
_TRANSFER = frozenset({Phase.TRANSFERRING})
_MEMORY = ANY_PHASE - _TRANSFER


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What an engine has done since it started."""

    steps: int
    busy_s: float
    """time inside engine steps, without idle waiting"""
    generated_tokens: int
    """counted while a turn is written, not only at its end"""
    prompt_tokens: int
    cached_prompt_tokens: int
    """prompt tokens that the prefix cache held"""


@dataclass(slots=True)
class _Turn:
    request: GenerationRequest
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Generation]
    on_tokens: OnTokens | None = None


class VllmEngine:
    """Owns one `LLMEngine` and the `EngineThread` that drives it. Its methods may be called from any event loop."""

    def __init__(self, model: str, settings: EngineSettings, device: Device, seed: int, sleeps: bool = False) -> None:
        """Start the engine. With `sleeps`, it can be asked to free its memory."""
        with loading():
            from vllm.engine.arg_utils import EngineArgs
            from vllm.v1.engine.exceptions import EngineDeadError
            from vllm.v1.engine.llm_engine import LLMEngine

            from actors.engines.vllm_outputs import count_tokens, replace_processing

        on_cpu = device is Device.CPU
        if on_cpu:
            forget_kv_cache_variable()
        self._engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=model,
                load_format="safetensors",  # by default vLLM also unpickles .bin files
                trust_remote_code=False,
                dtype=settings.dtype,
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_num_seqs,
                block_size=settings.block_size,  # type: ignore[arg-type]
                tensor_parallel_size=settings.tensor_parallel,
                gpu_memory_utilization=settings.gpu_memory_utilization,
                kv_cache_memory_bytes=int(settings.kv_cache_gib * 2**30) if on_cpu else None,
                enforce_eager=on_cpu or settings.enforce_eager,
                distributed_executor_backend="uni" if settings.tensor_parallel == 1 else "mp",
                enable_prefix_caching=True,
                # After a part of a prompt, vLLM undoes the random draw. A seeded generator on the CPU cannot undo one.
                enable_chunked_prefill=False if on_cpu else None,
                disable_log_stats=not core_is_apart(),  # see `occupancy_of`
                logprobs_mode="processed_logprobs",
                worker_extension_cls="actors.engines.vllm_worker.WeightReceiver",
                seed=seed,
                enable_sleep_mode=sleeps and device.engines_can_sleep,
            )
        )
        tokenizer = TransformersTokenizer(self._engine.get_tokenizer())
        end_ids = tokenizer.encode(CALL_CLOSE)
        self._command_end_id = end_ids[0] if len(end_ids) == 1 else None
        self.grammar = CommandGrammar(tokenizer)
        self._turns: dict[str, _Turn] = {}
        self._followers: dict[str, Follower] = {}
        self._ids = itertools.count()
        self.occupancy = occupancy_of(self._engine)
        self._weights = LiveWeights(self._engine)
        self._memory = EngineMemory(self._engine)
        self._phase_before_transfer = Phase.WRITING
        self._load = EngineLoad(0, 0.0, 0, 0, 0)
        self._replace_processing = replace_processing
        self._written_tokens = 0
        count_tokens(self._engine.output_processor, self._count)
        self._thread = EngineThread(
            self._step, self._engine.has_unfinished_requests, self._fail_turns, EngineDeadError, "vllm-engine"
        )

    @property
    def load(self) -> EngineLoad:
        return self._load

    @property
    def unfinished(self) -> int:
        """Turns that are being written."""
        return len(self._turns)

    @property
    def version(self) -> int:
        """Policy version of the weights in use."""
        return self._weights.version

    def check(self) -> None:
        """Raise `EngineError` if the engine has died."""
        self._thread.check()

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        """Return one turn, or raise `EngineError`. Cancelling the call aborts the request in the engine."""
        self.check()
        loop = asyncio.get_running_loop()
        turn = _Turn(request, loop, loop.create_future(), on_tokens)
        request_id = str(next(self._ids))
        self._thread.post(
            lambda: self._add(request_id, turn),
            fail=lambda error: loop.call_soon_threadsafe(reject, [turn.done], error),
        )
        try:
            return await turn.done
        except asyncio.CancelledError:
            self._thread.post_before_drain(lambda: self._abort(request_id))
            raise

    async def update_weights(self, weights: Weights, version: int, in_flight: InFlight = InFlight.FINISH) -> None:
        """Load `weights` as policy `version`. Later turns are written under it.

        The prefix cache is emptied, because its keys and values belong to the old weights.
        """
        action = partial(self._weights.load, weights, version)
        drain = in_flight is InFlight.FINISH
        await self._thread.call(action, f"loading policy version {version}", drain, _WEIGHTS)

    async def transfer(self, action: TransferAction) -> None:
        """Take part in a weight transfer from the learner. Between `Begin` and `End` nothing is written."""
        drain, phases = False, _TRANSFER
        match action:
            case Join():
                what, phases = "joining the weight transfer", _WEIGHTS
            case Begin(in_flight):
                what, phases, drain = "starting the weight transfer", _WEIGHTS, in_flight is InFlight.FINISH
            case Receive():
                what = "receiving weights"
            case End(version):
                what = f"taking policy version {version}"
            case _:
                assert_never(action)
        await self._thread.call(partial(self._take_part, action), what, drain, phases)

    def _take_part(self, action: TransferAction) -> None:
        self._weights.transfer(action)
        if isinstance(action, Begin):
            self._phase_before_transfer, self._thread.phase = self._thread.phase, Phase.TRANSFERRING
        elif isinstance(action, End):
            self._thread.phase = self._phase_before_transfer

    async def sleep(self, keep_weights: bool) -> None:
        """Free the engine's memory when the turns in flight are done. Later turns wait until the engine is awake.

        Weights that are not kept must be loaded again between `wake_weights` and `wake_kv_cache`.
        """

        def sleep() -> None:
            if self._thread.phase is Phase.WRITING:
                self._memory.sleep(keep_weights)
                self._thread.phase = Phase.ASLEEP

        await self._thread.call(sleep, "falling asleep", needs_drain=True, phases=WRITING | {Phase.ASLEEP})

    async def wake_weights(self) -> None:
        """Take back the memory of the weights. Does nothing if the engine has it, as after a restart."""

        def wake() -> None:
            if self._thread.phase is Phase.ASLEEP:
                self._memory.wake_weights()
                self._thread.phase = Phase.WEIGHTS_AWAKE

        await self._thread.call(wake, "waking the weights", phases=_MEMORY)

    async def wake_kv_cache(self) -> None:
        """Take back the memory of the KV cache and continue writing. Does nothing if the engine has it, as after a restart."""

        def wake() -> None:
            if self._thread.phase is Phase.ASLEEP:
                raise RuntimeError("the weights are asleep and have to be woken first")
            if self._thread.phase is Phase.WEIGHTS_AWAKE:
                self._memory.wake_kv_cache()
                self._thread.phase = Phase.WRITING

        await self._thread.call(wake, "waking the KV cache", phases=_MEMORY)

    def shutdown(self) -> None:
        """Stop the engine and free its memory. Turns in flight fail with `EngineError`.

        If vLLM's core runs in this process, vLLM also ends the process groups of all other engines in it.
        """
        self._thread.shutdown()
        self._engine.engine_core.shutdown()

    def _step(self) -> None:
        started = time.perf_counter()
        outputs = self._engine.step()
        self._deliver(cast("list[RequestOutput]", outputs), time.perf_counter() - started)

    def _add(self, request_id: str, turn: _Turn) -> None:
        if turn.done.cancelled():
            return
        from vllm.inputs import tokens_input

        request = turn.request
        prompt = tokens_input(list(map(int, request.prompt_ids)))
        try:
            params = self._sampling_params(request)
            internal_id = self._engine.add_request(request_id, prompt, params)
        except Exception as error:  # after a refused request, the engine must go on serving the others
            turn.loop.call_soon_threadsafe(reject, [turn.done], EngineError(f"vLLM refused the request: {error}"))
        else:
            self._turns[request_id] = turn
            state = self._engine.output_processor.request_states[internal_id]
            self._replace_processing(
                state,
                self.grammar,
                stop_text=None if self._stops_at_token(request) else request.stop_text,
                want_logprobs=request.want_logprobs,
            )
            if turn.on_tokens is not None:
                follower = Follower(turn.on_tokens, turn.loop, turn.done, state, request.want_logprobs)
                self._followers[request_id] = follower

    def _abort(self, request_id: str) -> None:
        self._followers.pop(request_id, None)
        if self._turns.pop(request_id, None):
            self._engine.abort_request([request_id])

    def _deliver(self, outputs: list[RequestOutput], step_s: float) -> None:
        prompt_tokens = cached_tokens = 0
        tell(self._followers.values())
        results: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Generation], Generation]]] = {}
        for output in outputs:
            turn = self._turns.pop(output.request_id, None) if output.finished else None
            if turn is None:
                continue
            self._followers.pop(output.request_id, None)
            try:
                generation = self._generation(output, turn)
            except EngineError as error:  # the engine must go on serving the other requests
                turn.loop.call_soon_threadsafe(reject, [turn.done], error)
                continue
            prompt_tokens += generation.prompt_tokens
            cached_tokens += generation.cached_tokens
            results.setdefault(turn.loop, []).append((turn.done, generation))
        for loop, resolved in results.items():
            loop.call_soon_threadsafe(resolve, resolved)
        load = self._load
        self._load = EngineLoad(
            steps=load.steps + 1,
            busy_s=load.busy_s + step_s,
            generated_tokens=self._written_tokens,
            prompt_tokens=load.prompt_tokens + prompt_tokens,
            cached_prompt_tokens=load.cached_prompt_tokens + cached_tokens,
        )

    def _count(self, tokens: int) -> None:
        self._written_tokens += tokens

    def _fail_turns(self, error: EngineError) -> None:
        turns, self._turns = self._turns, {}
        self._followers.clear()
        for turn in turns.values():
            turn.loop.call_soon_threadsafe(reject, [turn.done], error)

    def _sampling_params(self, request: GenerationRequest) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=request.sampling.temperature,
            top_p=request.sampling.top_p,
            top_k=request.sampling.top_k,
            seed=None if request.sampling.greedy else request.seed,
            max_tokens=request.max_tokens,
            logprobs=0 if request.want_logprobs else None,
            stop_token_ids=[self._command_end_id] if self._stops_at_token(request) else None,
            detokenize=False,
            # This excludes a token for certain. `logit_bias` only makes it unlikely: its least value is -100.
            _bad_words_token_ids=[[token] for token in request.excluded] or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _stops_at_token(self, request: GenerationRequest) -> bool:
        return request.stop_text == CALL_CLOSE and self._command_end_id is not None

    def _generation(self, output: RequestOutput, turn: _Turn) -> Generation:
        completion = output.outputs[0]
        tokens = np.asarray(completion.token_ids, np.int32)
        logprobs = np.zeros(len(tokens), np.float32)
        if turn.request.want_logprobs:
            logprobs[:] = completion.logprobs  # type: ignore[assignment]
        stop = StopReason.LENGTH
        if completion.finish_reason == "stop":
            command = completion.stop_reason is not None and completion.stop_reason in (
                turn.request.stop_text,
                self._command_end_id,
            )
            stop = StopReason.STOP_TEXT if command else StopReason.END_OF_TEXT
        return Generation(
            token_ids=tokens,
            logprobs=logprobs,
            versions=token_versions(completion),
            stop=stop,
            prompt_tokens=len(turn.request.prompt_ids),
            cached_tokens=output.num_cached_tokens or 0,
        )
