"""Ends and beginnings of commands found by token ids: the same turns as by vLLM's own detokenization and stop string."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from actors.relay.grammar import CALL_CLOSE, CALL_START, CommandGrammar
from actors.relay.tokenizer import TransformersTokenizer
from cluster.devices import Device, engine_environment

if TYPE_CHECKING:
    from vllm.v1.engine.detokenizer import IncrementalDetokenizer

MERGES = [
    "< /",
    "c a",
    "l l",
    "ca ll",
    "> Ċ",
    "> >",
    "a >",
    "</ call",
    "</call >",
    "</call >Ċ",
    "Ġ <",
    "x <",
    "< c",
    "call >",
]


def byte_level() -> PreTrainedTokenizerFast:
    """A tokenizer that cuts `</call>` and `<call` in many ways, joins its end to what follows, and cuts characters into bytes."""
    pieces = sorted(ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in MERGES]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(BPE(vocabulary, [tuple(merge.split()) for merge in MERGES]))  # type: ignore[misc]
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(["<|end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def found_by_ids(grammar: CommandGrammar, text: str) -> IncrementalDetokenizer:
    os.environ.update(engine_environment(Device.CPU, threads=1))  # read when vLLM is imported
    from actors.engines.vllm_outputs import StopText

    return StopText(grammar, text)


def stop_string(tokenizer: PreTrainedTokenizerFast, text: str) -> IncrementalDetokenizer:
    """What vLLM makes of a request with this stop string."""
    from vllm import SamplingParams
    from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer

    params = SamplingParams(stop=[text], include_stop_str_in_output=True)
    request = SimpleNamespace(request_id="0", prompt_token_ids=[1, 2, 3], sampling_params=params)
    return FastIncrementalDetokenizer(tokenizer, request)  # type: ignore[arg-type]


def turn(ends: IncrementalDetokenizer, ids: list[int]) -> list[int]:
    """The turn that comes of these sampled tokens."""
    for token in ids:
        if ends.update([token], False):
            break
    return list(ends.output_token_ids)


BYTE_LEVEL = byte_level()
GRAMMAR = CommandGrammar(TransformersTokenizer(BYTE_LEVEL))
LIKELY = [*BYTE_LEVEL.convert_tokens_to_ids(["<", "/", "call", "c", "a", "l", "</", ">", ">Ċ", "a>", "</call"]), 200]


@pytest.mark.parametrize("stop_text", [CALL_CLOSE, CALL_START])
@given(ids=st.lists(st.one_of(st.sampled_from(LIKELY), st.integers(0, len(BYTE_LEVEL) - 1)), max_size=40))
def test_a_turn_of_any_bytes_ends_where_the_stop_string_would_end_it(stop_text: str, ids: list[int]) -> None:
    assert turn(found_by_ids(GRAMMAR, stop_text), ids) == turn(stop_string(BYTE_LEVEL, stop_text), ids)


@pytest.mark.parametrize("stop_text", [CALL_CLOSE, CALL_START])
@pytest.mark.parametrize(
    "text", ["a<call>5</call>b", "</call>\nb", "é</call>é", "</callx></call>", "<</call>>", "a</call", "\ufffd</call>"]
)
def test_text_ends_where_the_stop_string_would_end_it(stop_text: str, text: str) -> None:
    ids = BYTE_LEVEL.encode(text)
    ours = turn(found_by_ids(GRAMMAR, stop_text), ids)
    assert ours == turn(stop_string(BYTE_LEVEL, stop_text), ids)
    assert (stop_text in BYTE_LEVEL.decode(ours)) == (stop_text in text)


def test_tokens_of_one_step_past_the_command_are_left_out(tiny_model: Path) -> None:
    tokenizer = TransformersTokenizer(AutoTokenizer.from_pretrained(tiny_model))
    command = tokenizer.encode("1<call>5</call>")
    ends = found_by_ids(CommandGrammar(tokenizer), CALL_CLOSE)
    assert ends.update([*command, *tokenizer.encode("2+3")], False) == CALL_CLOSE
    assert ends.output_token_ids == command


def processed(ids: list[int], logprobs: list[float], replaced: bool) -> tuple[list[int], list[float], object, bool]:
    """Ids and log-probs of the turn that vLLM's output processor makes of the samples, why it stopped, and if by abort."""
    os.environ.update(engine_environment(Device.CPU, threads=1))
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
    from vllm.v1.engine.output_processor import OutputProcessor
    from vllm.v1.outputs import LogprobsLists

    from actors.engines.vllm_outputs import replace_processing

    params = SamplingParams(
        stop=None if replaced else [CALL_CLOSE],
        detokenize=not replaced,
        include_stop_str_in_output=True,
        logprobs=0,
        flat_logprobs=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    request = EngineCoreRequest("0", [1, 2, 3], None, params, None, 0.0, None, None, None, external_req_id="0")
    processor = OutputProcessor(BYTE_LEVEL, log_stats=False)
    processor.add_request(request, None)
    if replaced:
        replace_processing(processor.request_states["0"], GRAMMAR, stop_text=CALL_CLOSE, want_logprobs=True)
    for token, logprob in zip(ids, logprobs, strict=True):
        sampled = LogprobsLists(np.array([[token]]), np.array([[logprob]], np.float32), np.array([1]))
        outputs = processor.process_outputs([EngineCoreOutput("0", [token], new_logprobs=sampled)])
        if outputs.request_outputs:
            (completion,) = outputs.request_outputs[0].outputs
            kept = completion.logprobs if replaced else completion.logprobs.logprobs
            return list(completion.token_ids), list(kept), completion.stop_reason, outputs.reqs_to_abort == ["0"]
    raise AssertionError("the turn did not end")


@pytest.mark.parametrize("text", ["a<call>5</call>b", "</call>", "é<</call>\nb"])
def test_a_turn_keeps_the_ids_and_log_probs_that_vllm_would_keep(text: str) -> None:
    ids = BYTE_LEVEL.encode(text)
    logprobs = [-0.5 * i for i in range(len(ids))]
    ours = processed(ids, logprobs, replaced=True)
    assert ours == processed(ids, logprobs, replaced=False)
    assert ours[2:] == (CALL_CLOSE, True)
