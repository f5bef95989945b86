"""Settings that people write: whatever a file or an override says, it loads or is refused by lines that name it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from actors.serving.settings import ServerSettings
from pipelines.experiment.errors import ConfigError, schema_paths
from pipelines.experiment.loading import load, resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.study.settings import StudySettings
from pipelines.sweep.settings import SweepSettings
from tests.fuzz.near_schema import ANYTHING, NearSchema
from tests.pipelines.small import SMALL

REPOSITORY = Path(__file__).parents[2]
MODELS: list[type[BaseModel]] = [Experiment, StudySettings, SweepSettings, ServerSettings]
BASES: dict[type[BaseModel], str] = {
    Experiment: "demo.yaml",
    StudySettings: "tiny/study.yaml",
    SweepSettings: "sweeps/demo.yaml",
    ServerSettings: "serve/demo.yaml",
}
KEYS = {model: [".".join(path) for path in schema_paths(model)] for model in MODELS}
EVERY = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings")


def outcome(path: Path, overrides: list[str], model: type[BaseModel]) -> BaseModel | tuple[str, ...]:
    """Return the settings, or the lines that refuse them. Any other error comes through."""
    try:
        return load(path, overrides, model)
    except ConfigError as error:
        return error.problems


def check(path: Path, model: type[BaseModel], folder: Path, overrides: Sequence[str] = ()) -> None:
    """Load the file. What is refused has a line for each problem; what is taken can be written to the folder and read again."""
    found = outcome(path, list(overrides), model)
    if isinstance(found, tuple):
        assert found and all(line.strip() and line.isprintable() for line in found)
        assert all(line.startswith((str(path), "override")) for line in found)
    else:
        again = folder / "again.yaml"
        again.write_text(resolved_yaml(found), encoding="utf-8")
        assert load(again, [], model) == found


@EVERY
def test_a_document_near_the_schema_loads_or_is_refused(model: type[BaseModel], folder: Path) -> None:
    path = folder / "document.yaml"

    @given(NearSchema(model.model_json_schema()).documents())
    @settings(max_examples=30)
    def near(document: Any) -> None:
        path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        check(path, model, folder)

    near()


@EVERY
def test_a_value_of_any_kind_at_any_key_loads_or_is_refused(model: type[BaseModel], folder: Path) -> None:
    path = folder / "base.yaml"

    @given(st.sampled_from(KEYS[model]), ANYTHING | st.integers() | st.floats())
    @settings(max_examples=30)
    def one(key: str, value: Any) -> None:
        nested = value
        for name in reversed(key.replace("*", "a").split(".")):
            nested = {name: nested}
        base = os.path.relpath(REPOSITORY / "experiments" / BASES[model], folder)
        path.write_text(yaml.safe_dump({"extends": base, **nested}), encoding="utf-8")
        check(path, model, folder)

    one()


@EVERY
def test_any_override_is_taken_or_refused(model: type[BaseModel], folder: Path) -> None:
    path = REPOSITORY / "experiments" / BASES[model]
    if model is Experiment:
        (path := folder / "small.yaml").write_text(SMALL)
    texts = st.text(max_size=10) | st.sampled_from(
        ["[", "{", "'", '"', "!!int x", "&a [*a]", "*a", "[1, 2]", "{a: 1}", "~", "1:2"]
    )
    yaml_values = ANYTHING.map(lambda value: yaml.safe_dump(value, default_flow_style=True))

    @given(
        st.lists(
            st.tuples(st.sampled_from(KEYS[model]) | st.text(max_size=8), texts | yaml_values).map("=".join)
            | st.text(max_size=12),
            max_size=3,
        )
    )
    @settings(max_examples=30)
    def overridden(overrides: list[str]) -> None:
        check(path, model, folder, overrides)

    overridden()
