"""Replaces parts of vLLM's output processor by cheaper ones, for the sampled tokens of a relayed turn.

To find a stop string, vLLM detokenizes every token, and decodes it again for its log-prob. Here the token ids themselves show
where a command begins or ends, and a log-prob is kept as a number. Import this module only where an engine is made,
because it loads vLLM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vllm.v1.engine.detokenizer import IncrementalDetokenizer
from vllm.v1.engine.logprobs import LogprobsProcessor

from actors.relay.grammar import CommandGrammar

if TYPE_CHECKING:
    from vllm.v1.engine import EngineCoreOutput
    from vllm.v1.engine.output_processor import OutputProcessor, OutputProcessorOutput, RequestState


class StopText(IncrementalDetokenizer):
    """Stops a turn with the token that completes a text, like a stop string, but without detokenizing."""

    def __init__(self, grammar: CommandGrammar, stop_text: str) -> None:
        super().__init__()
        self._grammar = grammar
        self._stop_text = stop_text

    def update(self, new_token_ids: list[int], stop_terminated: bool) -> str | None:
        """Append the tokens of one step, up to the one that completes the stop text. Return the stop text if it is complete."""
        for token in new_token_ids:
            self.token_ids.append(token)
            if self._grammar.completes(self._stop_text, self.token_ids):
                return self._stop_text
        return None


class SampledLogprobs(LogprobsProcessor):
    """Collects the log-prob of each sampled token in `logprobs`, a plain list of floats."""

    def __init__(self) -> None:
        self.values: list[float] = []
        super().__init__(
            tokenizer=None,
            logprobs=self.values,  # type: ignore[arg-type]
            prompt_logprobs=None,
            cumulative_logprob=None,
            num_logprobs=0,
            num_prompt_logprobs=None,
        )

    def update_from_output(self, output: EngineCoreOutput) -> None:
        """Append the log-probs of one step. The first column is the sampled token's."""
        if output.new_logprobs is not None:
            self.values += output.new_logprobs.logprobs[:, 0].tolist()


def count_tokens(processor: OutputProcessor, count: Callable[[int], None]) -> None:
    """Call `count` after each engine step with the number of tokens that it wrote, also those of unfinished turns."""
    process = processor.process_outputs

    def counted(outputs: list[EngineCoreOutput], *arguments: Any, **options: Any) -> OutputProcessorOutput:
        count(sum(len(output.new_token_ids) for output in outputs))
        return process(outputs, *arguments, **options)

    processor.process_outputs = counted  # type: ignore[method-assign]


def replace_processing(
    state: RequestState, grammar: CommandGrammar, *, stop_text: str | None, want_logprobs: bool
) -> None:
    """Make a request use `StopText` for its stop text, and `SampledLogprobs` if it wants log-probs.

    The request must have just been added, with `detokenize=False`.
    """
    if stop_text is not None:
        state.detokenizer = StopText(grammar, stop_text)
    if want_logprobs:
        state.logprobs_processor = SampledLogprobs()
