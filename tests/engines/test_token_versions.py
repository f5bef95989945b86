"""Policy versions of a turn's tokens, by what vLLM says about them."""

import pytest
from vllm.outputs import CompletionOutput, WeightVersionSpan

from actors.engines.base import EngineError
from actors.engines.live_weights import token_versions


def completion(*spans: WeightVersionSpan, said: bool = True) -> CompletionOutput:
    return CompletionOutput(0, "", [5, 6, 7], None, None, weight_versions=list(spans) if said else None)


def test_each_token_has_the_version_of_its_span() -> None:
    spans = WeightVersionSpan("3", 0, 1), WeightVersionSpan("4", 1, 3)
    assert token_versions(completion(*spans)).tolist() == [3, 4, 4]


@pytest.mark.parametrize(
    ("output", "missing"),
    [(completion(said=False), 3), (completion(), 3), (completion(WeightVersionSpan("3", 1, 2)), 2)],
)
def test_tokens_without_a_version_are_an_error(output: CompletionOutput, missing: int) -> None:
    with pytest.raises(EngineError, match=f"which weights sampled {missing} of the turn's 3 tokens"):
        token_versions(output)
