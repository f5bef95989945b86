"""A toy where the right routing is known: after some tokens only the teacher knows how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, Qwen3ForCausalLM

from actors.citer.decoding import RoutedDecoder, RoutedPolicy
from actors.citer.student import SteppedStudent, load_student
from actors.engines.base import Engine, GenerationRequest
from actors.relay.handoff import RelayPrompt
from actors.relay.tokenizer import TransformersTokenizer
from actors.settings import SamplingSettings
from tests.scripted import ScriptedEngine

TEACHER_MARK = 5
"""begins the teacher's prompts and no one else's, so that a mix-up of the two would show"""
GREEDY = SamplingSettings(temperature=0.0)
MAX_NEW_TOKENS = 16


class Toy:
    """A random student, and a teacher that writes the same but after every third token of the vocabulary."""

    def __init__(self, folder: Path) -> None:
        self.model: PreTrainedModel = load_student(str(folder), torch.float32, torch.device("cpu"))
        self.tokenizer = TransformersTokenizer(AutoTokenizer.from_pretrained(folder))
        self._seen: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def states(self, ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Last hidden state and logits after `ids`, by one plain forward pass."""
        key = tuple(ids)
        if key not in self._seen:
            with torch.inference_mode():
                output = self.model(input_ids=torch.tensor([key]), output_hidden_states=True, use_cache=False)
            self._seen[key] = output.hidden_states[-1][0, -1], output.logits[0, -1]
        return self._seen[key]

    def student_token(self, ids: Sequence[int]) -> int:
        return int(self.states(ids)[1].argmax())

    def is_hard(self, ids: Sequence[int]) -> bool:
        """Whether only the teacher knows what follows."""
        return ids[-1] % 3 == 0

    def teacher_token(self, ids: Sequence[int]) -> int:
        own = self.student_token(ids)
        if not self.is_hard(ids):
            return own
        return next(t for t in Random(str(list(ids))).sample(range(6, 30), 3) if t != own)

    def teacher(self) -> ScriptedEngine:
        def script(request: GenerationRequest) -> list[int]:
            assert request.prompt_ids[0] == TEACHER_MARK
            ids = list(request.prompt_ids[1:])
            return [self.teacher_token(ids)] if request.max_tokens == 1 else self.solution(ids)

        return ScriptedEngine(self.tokenizer, script)

    def solution(self, prompt: Sequence[int]) -> list[int]:
        """What the teacher alone writes."""
        ids = list(prompt)
        while len(ids) < len(prompt) + MAX_NEW_TOKENS:
            ids.append(self.teacher_token(ids))
            if ids[-1] == self.tokenizer.eos_token_id:
                break
        return ids[len(prompt) :]

    def prompts(self, count: int, seed: int) -> list[RelayPrompt]:
        """Prompts of different lengths."""
        random = Random(seed)
        drawn = [tuple(random.randrange(6, 30) for _ in range(random.randint(2, 9))) for _ in range(count)]
        return [RelayPrompt(ids, (TEACHER_MARK, *ids)) for ids in drawn]

    def decoder(self, teacher: Engine | None = None, max_sequences: int = 8, context_tokens: int = 64) -> RoutedDecoder:
        return RoutedDecoder(
            student=SteppedStudent(self.model, max_sequences),
            teacher=teacher or self.teacher(),
            tokenizer=self.tokenizer,
            end_ids={self.tokenizer.eos_token_id},
            student_context_tokens=64,
            teacher_context_tokens=context_tokens,
        )


def policy(**changes: object) -> RoutedPolicy:
    settings: dict[str, object] = {
        "router": None, "threshold": 0.5, "sampling": GREEDY, "teacher_sampling": GREEDY,
        "max_new_tokens": MAX_NEW_TOKENS, "teacher_timeout_s": 60.0,
    }  # fmt: skip
    return RoutedPolicy(**settings | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def toy(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The tiny model with a head of its own: with the embedding as its head it would repeat one token for ever."""
    folder = tmp_path_factory.mktemp("toy-student")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    config = AutoConfig.from_pretrained(tiny_model)
    config.tie_word_embeddings = False
    model = Qwen3ForCausalLM.from_pretrained(tiny_model, config=config)
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(0)))
    model.save_pretrained(folder)
    return Toy(folder)
