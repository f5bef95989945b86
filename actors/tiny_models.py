"""The models of the embedded default: a tokenizer for single digits with a chat template, and tiny Qwen3 architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from cluster.settings import Settings

CommandTokens = Literal["text", "special"]

END, USER, ASSISTANT, SYSTEM = "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
_TEXT_TOKENS = [*"0123456789", *"+-*?=; ", "\\boxed{", "}", "</", "<", "call", ">"]
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


class TinyModelSettings(Settings):
    """A Qwen3 architecture small enough to pretrain in minutes on two cores."""

    hidden_size: int = Field(64, gt=0, le=65_536, description="width of the residual stream")
    layers: int = Field(2, gt=0, le=1024, description="decoder layers")
    heads: int = Field(2, gt=0, le=1024, description="attention heads")
    head_dim: int = Field(32, gt=0, le=4096, description="width of a head")
    intermediate_size: int = Field(192, gt=0, le=1_000_000, description="width of the MLPs")
    max_position: int = Field(256, gt=0, le=10_000_000, description="longest text, in tokens")


def write_tokenizer(folder: Path, command_tokens: CommandTokens) -> None:
    """Write the tokenizer to `folder`. With `command_tokens` "special", `<call>` and `</call>` are one token each."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|unknown|>", END, USER, ASSISTANT, SYSTEM]
    commands = ["<call>", "</call>"] if command_tokens == "special" else []
    vocabulary = {token: index for index, token in enumerate([*special, *commands, *_TEXT_TOKENS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = Split(Regex(r"\\boxed\{|</|call|[\s\S]"), behavior="isolated")
    tokenizer.decoder = Fuse()
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(commands)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token="<|pad|>",
        unk_token="<|unknown|>",
        chat_template=_CHAT_TEMPLATE,
    )
    wrapped.save_pretrained(folder)


def write_config(folder: Path, settings: TinyModelSettings) -> None:
    """Write the Qwen3 configuration of a model to `folder`, which must hold the model's tokenizer."""
    from transformers import AutoTokenizer, GenerationConfig, Qwen3Config

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=64,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        head_dim=settings.head_dim,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=settings.max_position,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    ).save_pretrained(folder)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
