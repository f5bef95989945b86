"""What the code never does, wherever it is written: run a model's code, unpickle a file, evaluate a text, bind all networks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    file for room in ("actors", "benchmarks", "cluster", "pipelines", "rewards") for file in (ROOT / room).rglob("*.py")
]
UNPICKLES = {
    "actors/engines/vllm_worker.py": "bytes that the process that owns the engine has just made",
}
"""files that may read a pickle, and whose it is"""


def calls() -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yield each call: where it is, the called name with its dots, and its keywords that are constants."""
    for file in FILES:
        place = str(file.relative_to(ROOT))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                constants = {
                    one.arg: one.value.value for one in node.keywords if one.arg and isinstance(one.value, ast.Constant)
                }
                if ast.unparse(node.func) == "partial":
                    yield f"{place}:{node.lineno}", ast.unparse(node.args[0]), constants
                yield f"{place}:{node.lineno}", ast.unparse(node.func), constants


CALLS = list(calls())


def test_no_loader_may_run_code_that_comes_with_a_model() -> None:
    """Without the keyword, transformers asks at the terminal whether it may run that code."""
    loaders = [
        one for one in CALLS if one[1].startswith("Auto") and one[1].endswith((".from_pretrained", ".from_config"))
    ]
    loaders += [one for one in CALLS if one[1] == "EngineArgs"]
    assert len(loaders) > 12
    assert [one for one in loaders if one[2].get("trust_remote_code") is not False] == []


def test_weights_are_read_from_safetensors_alone() -> None:
    models = [one for one in CALLS if one[1] == "AutoModelForCausalLM.from_pretrained"]
    engines = [one for one in CALLS if one[1] == "EngineArgs"]
    assert models and engines
    assert [one for one in models if one[2].get("use_safetensors") is not True] == []
    assert [one for one in engines if one[2].get("load_format") != "safetensors"] == []


def test_a_loader_is_never_handed_on_without_its_keywords() -> None:
    """`load = AutoTokenizer.from_pretrained` would hide the call from the tests above."""
    bare = []
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        partials = {
            id(node.args[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "partial"
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "from_pretrained" and id(node) not in called | partials:
                bare.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert bare == []


@pytest.mark.parametrize(
    "forbidden",
    [
        "pickle.load",
        "pickle.loads",
        "cloudpickle.loads",
        "torch.load",
        "joblib.load",
        "dill.load",
        "marshal.loads",
        "shelve.open",
    ],
)
def test_nothing_is_unpickled_but_what_this_process_tree_has_made(forbidden: str) -> None:
    assert {where.partition(":")[0] for where, name, _ in CALLS if name == forbidden} <= UNPICKLES.keys()


def test_no_array_file_may_hold_objects() -> None:
    assert [where for where, _, constants in CALLS if constants.get("allow_pickle")] == []


@pytest.mark.parametrize(
    "forbidden",
    ["eval", "exec", "compile", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load", "parse_expr", "sympify"],
)
def test_no_text_is_evaluated(forbidden: str) -> None:
    assert [where for where, name, _ in CALLS if name in (forbidden, f"sympy.{forbidden}")] == []


def test_no_command_goes_through_a_shell() -> None:
    assert [where for where, _, constants in CALLS if constants.get("shell")] == []
