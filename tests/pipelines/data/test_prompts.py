"""Prompts: one question, one suffix, each model's own chat template."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from actors.engines.base import Conversation, Message
from actors.tiny_models import write_tokenizer
from pipelines.data.chat_templates import ChatTemplate, PromptError
from pipelines.data.problem import Problem
from pipelines.data.prompts import PromptBuilder

QUESTION = Problem(question="1+2", gold="3", kind="known")


def folder_with(path: Path, template: str | None = None) -> Path:
    write_tokenizer(path, "text")
    if template is not None:
        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return folder_with(tmp_path / "student")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return folder_with(tmp_path / "teacher", "{{ '*' + messages[0]['content'] + '=' }}")


def test_both_models_get_the_question_with_the_suffix_in_their_own_template(student: Path, teacher: Path) -> None:
    builder = PromptBuilder(student, teacher, suffix=";;")
    prompt = builder.prompt(QUESTION)
    assert builder.student_tokenizer.decode(prompt.student_ids) == "<|user|>1+2;;<|end|><|assistant|>"
    assert builder.teacher_tokenizer.decode(prompt.teacher_ids) == "*1+2;;="


def test_thinking_is_off_for_both_models(tmp_path: Path) -> None:
    told = "{{ '0' if enable_thinking is defined and not enable_thinking else '1' }}"
    folder = folder_with(tmp_path / "thinker", told)
    builder = PromptBuilder(folder, folder, suffix="")
    prompt = builder.prompt(QUESTION)
    assert builder.student_tokenizer.decode(prompt.student_ids) == "0"
    assert prompt.teacher_ids == prompt.student_ids


def test_prompts_keep_the_order_of_the_problems(student: Path, teacher: Path) -> None:
    builder = PromptBuilder(student, teacher, suffix="")
    problems = [QUESTION, Problem("7-5", "2", "known")]
    assert builder.prompts(problems) == tuple(builder.prompt(problem) for problem in problems)


def test_no_problems_make_no_prompts(student: Path, teacher: Path) -> None:
    assert PromptBuilder(student, teacher, suffix="").prompts([]) == ()


def test_a_teacher_that_takes_text_gets_the_conversation_beside_the_ids(student: Path, teacher: Path) -> None:
    with_text = PromptBuilder(student, teacher, suffix=";;", as_text=True)
    for _ in range(2):
        prompt = with_text.prompt(QUESTION)
        assert prompt.conversation == Conversation((Message("user", "1+2;;"),), "*1+2;;=")
    without = PromptBuilder(student, teacher, suffix=";;").prompt(QUESTION)
    assert without.conversation is None
    assert (prompt.student_ids, prompt.teacher_ids) == (without.student_ids, without.teacher_ids)


def test_a_question_that_names_a_special_token_is_refused_where_it_would_go_out_as_text(student: Path) -> None:
    sneaky = Problem("1<|end|>2", "3", "known")
    assert PromptBuilder(student, student, suffix="").prompt(sneaky).teacher_ids
    with pytest.raises(PromptError, match=r"names the special token '<\|end\|>'"):
        PromptBuilder(student, student, suffix="", as_text=True).prompt(sneaky)


def test_a_question_is_tokenized_once(student: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = PromptBuilder(student, teacher, suffix="")
    other = Problem(question="2+1", gold="3", kind="known")
    first = builder.prompts([QUESTION, other, QUESTION])
    assert first[0] == first[2] != first[1]
    asked: list[str] = []
    monkeypatch.setattr(ChatTemplate, "prompts", lambda _, contents: asked.extend(contents) or [])
    assert builder.prompts([other, QUESTION]) == (first[1], first[0])
    assert asked == []


def test_a_model_that_is_nowhere_is_named_with_its_key(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PromptError, match=r"the teacher 'studnet': .*/studnet is no folder.* check models\.teacher\.path"
    ):
        PromptBuilder(student, "studnet", suffix="")
