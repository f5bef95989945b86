"""What vLLM's output processor does with the sampled tokens of a relayed turn, replaced by what the turn needs.

vLLM finds a stop string by detokenizing every token, and then also decodes it a second time for its log-prob. Here the
tokens themselves say where a command begins or ends, and a log-prob is kept as a number. Imported where an engine is made only,
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
    """Stops a turn with the token that completes a text, as that text as a stop string would, and writes no text."""

    def __init__(self, grammar: CommandGrammar, stop_text: str) -> None:
        super().__init__()
        self._grammar = grammar
        self._stop_text = stop_text

    def update(self, new_token_ids: list[int], stop_terminated: bool) -> str | None:
        """Take the tokens of one step up to the end of the text, and return the text if it is there."""
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
        """Take the log-probs of one step. The first column is the sampled token's."""
        if output.new_logprobs is not None:
            self.values += output.new_logprobs.logprobs[:, 0].tolist()


def count_tokens(processor: OutputProcessor, count: Callable[[int], None]) -> None:
    """Have `count` called with the number of tokens that each engine step has written, for turns under way, too."""
    process = processor.process_outputs

    def counted(outputs: list[EngineCoreOutput], *arguments: Any, **options: Any) -> OutputProcessorOutput:
        count(sum(len(output.new_token_ids) for output in outputs))
        return process(outputs, *arguments, **options)

    processor.process_outputs = counted  # type: ignore[method-assign]


def replace_processing(
    state: RequestState, grammar: CommandGrammar, *, stop_text: str | None, want_logprobs: bool
) -> None:
    """Give a request that has just been added, and asks for no text, these ways to process its tokens."""
    if stop_text is not None:
        state.detokenizer = StopText(grammar, stop_text)
    if want_logprobs:
        state.logprobs_processor = SampledLogprobs()
