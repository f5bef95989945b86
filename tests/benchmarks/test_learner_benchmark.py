"""The learner's benchmark: its workload, its contestants' agreement, and a whole run at a tiny size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from actors.trajectory import Source
from benchmarks.learning.workload import TINY, long_tailed_lengths, trajectories

REPOSITORY = Path(__file__).parents[2]


def test_lengths_span_one_to_twenty_with_a_long_tail() -> None:
    lengths = long_tailed_lengths(32, 24, 480, seed=0)
    assert (min(lengths), max(lengths), len(lengths)) == (24, 480, 32)
    assert np.median(lengths) < np.mean(lengths) < max(lengths) / 3


def test_trajectories_have_calls_whose_tokens_are_the_teachers() -> None:
    batch, advantages = trajectories(32, 24, 480, TINY.vocabulary, (4, 16))
    calls = np.diff(batch.call_offsets)
    assert calls.min() == 0 and calls.max() == 5
    assert 0 < (batch.sources == Source.TEACHER).mean() < 0.5
    assert np.all(advantages != 0) and not batch.logprobs[batch.sources == Source.TEACHER].any()


@pytest.mark.slow
def test_the_benchmark_runs_at_a_tiny_size() -> None:
    command = [sys.executable, "-m", "benchmarks.learner", "--quick", "--runs", "2", "--threads", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "step: our learner" in done.stdout and "head's activations" in done.stdout
