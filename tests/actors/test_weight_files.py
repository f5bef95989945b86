"""Weights read from a student's folder are those that a learner would give to the rollout workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from actors.learner.export import export_model, gather_weights
from actors.weight_files import read_weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_exported_student_is_read_as_the_learner_gives_it(
    tiny_model: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=dtype)
    export_model(model, tmp_path / "student", writer=True)
    given, read = gather_weights(model, keep=True), read_weights(tmp_path / "student")
    assert given.keys() - read.keys() <= {"lm_head.weight"}  # tied: the engine has it from the embedding
    for name, array in read.items():
        assert array.dtype == given[name].dtype
        np.testing.assert_array_equal(array, given[name])


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_weights(tmp_path)
