"""The smallest experiment that loads, for tests that change it."""

SMALL = """
name: small
models: {student: {path: a}, teacher: {path: b}}
data:
  train: {source: chain_arithmetic, counts: {known: 3}}
  evaluation: [{source: file, path: evaluation.jsonl, kind: algebra}]
"""
