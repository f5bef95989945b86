"""The learner's model code needs PyTorch and transformers alone, so that it can be measured on any GPU machine."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BLOCKED = ["ray", "vllm", "deepspeed", "pydantic", "datasets", "wandb", "pyarrow", "trl", "accelerate"]
MODULES = [f"actors.learner.{name}" for name in ("model", "attention", "logprobs", "losses", "packing", "kernels")]


def run_without_packages(code: str, *arguments: str) -> str:
    block = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"
    command = [sys.executable, "-c", block + code, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_compute_path_imports_without_ray_deepspeed_and_vllm():
    run_without_packages(f"import importlib\nfor name in {MODULES!r}: importlib.import_module(name)")


def test_the_gpu_benchmark_runs_without_them_on_the_cpu_at_a_tiny_size():
    code = "import runpy; runpy.run_module('benchmarks.gpu', run_name='__main__')"
    output = run_without_packages(code, "--quick", "--runs", "1")
    assert "throughput" in output and "MFU" in output and "peak memory" in output
    (difference,) = [line.split("|")[2].split()[0] for line in output.splitlines() if "against single rows" in line]
    assert float(difference) < 1e-4
