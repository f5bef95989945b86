"""Asks a relay student a question with transformers alone. The teacher is any server with OpenAI's completions."""

import re
from collections.abc import Callable

import torch
from openai import OpenAI
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

# From the answer so far and n to the teacher's next n tokens as text, and whether they end the answer.
Teacher = Callable[[str, int], tuple[str, bool]]
CALL = re.compile(r"<call>0*([1-9][0-9]*)</call>\s*\Z")
COMMANDS = re.compile(r"<call>[^<\n]*</call>|<call>[0-9]*|</call>")


def prompt(tokenizer: Tokenizer, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, enable_thinking=False)


def teacher_of(client: OpenAI, model: str, tokenizer: Tokenizer, question: str) -> Teacher:
    def write(so_far: str, tokens: int) -> tuple[str, bool]:
        text = prompt(tokenizer, question) + so_far
        reply = client.completions.create(model=model, prompt=text, max_tokens=tokens, temperature=0).choices[0]
        return reply.text, reply.finish_reason == "stop"

    return write


def answer(folder: str, question: str, teacher: Teacher, tokens: int = 512, calls: int = 5) -> str:
    student = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    ids = tokenizer(prompt(tokenizer, question), add_special_tokens=False, return_tensors="pt").input_ids
    start, ended = ids.shape[1], False

    def at_command(ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return torch.tensor([tokenizer.decode(ids[0, -16:]).rstrip().endswith("</call>")])

    while not ended and (room := start + tokens - ids.shape[1]) > 0:
        banned = tokenizer(["<call"], add_special_tokens=False).input_ids if calls == 0 else None
        limits = {"max_new_tokens": room, "stopping_criteria": [at_command], "bad_words_ids": banned}
        ids = student.generate(ids, do_sample=False, **limits)
        ended, room = int(ids[0, -1]) == tokenizer.eos_token_id, start + tokens - ids.shape[1]
        written = tokenizer.decode(ids[0, start:])
        if not ended and room > 0 and (call := CALL.search(written)):
            text, ended = teacher(COMMANDS.sub("", written), min(int(call[1]), room))  # it never sees a command
            more = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            ids, calls = torch.cat([ids, more.long()], dim=1), calls - 1
    return COMMANDS.sub("", tokenizer.decode(ids[0, start:], skip_special_tokens=True))
