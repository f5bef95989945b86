"""Comparisons need no accelerator, no cluster and no model."""

import pkgutil
import subprocess
import sys

import pipelines.analysis


def test_nothing_heavy_is_loaded() -> None:
    modules = [f"pipelines.analysis.{module.name}" for module in pkgutil.iter_modules(pipelines.analysis.__path__)]
    heavy = "{'torch', 'vllm', 'ray', 'deepspeed', 'transformers', 'datasets', 'wandb'}"
    script = f"import sys, {', '.join(modules)}; print(sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert len(modules) > 10
    assert loaded.stdout.strip() == "[]"
