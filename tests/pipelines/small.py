"""The smallest experiment that loads, and the smallest one that runs."""

SMALL = """
name: small
models: {student: {path: a}, teacher: {path: b}}
data:
  train: {source: chain_arithmetic, counts: {known: 3}}
  evaluation: [{source: file, path: evaluation.jsonl, kind: algebra}]
"""

SMALL_RUN = """
extends: {demo}
name: small
run_dir: {run_dir}
models:
  cache_dir: {cache}
  student: {{pretrain: {{steps: 30}}}}
  teacher: {{pretrain: {{steps: 30, problems_per_step: 16}}}}
data:
  train: {{counts: {{known: 16, teacher_known: 16}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 6}}}}]
filter: {{enabled: false}}
warmup: {{samples: 64}}
grpo:
  {{steps: 3, prompts_per_step: 4, group_size: 4, mini_batches: 2, checkpoint_every: 2, evaluate_every: 2,
    loss: {{kl_coefficient: 0.01}}, optimizer: {{lr: 1.0e-3, weight_decay: 30}}}}  # moves the weights, whatever the rewards
evaluation: {{base: [], warmup: [], training: [relay], final: [teacher]}}
tracking: {{mode: disabled}}
"""
