"""A secret that somebody writes into settings by mistake is refused, and stands in no message."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from actors.serving.settings import ServerSettings
from pipelines.experiment.errors import ConfigError, names_a_secret, schema_paths
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.study.settings import StudySettings
from pipelines.sweep.settings import SweepSettings
from tests.pipelines.small import SMALL

SECRET = "sk-planted-0123456789"
SERVED = f"models.teacher={{url: http://user:{SECRET}@host/v1, model: big}}"


@pytest.mark.parametrize(
    "override",
    [
        f"models.teacher.api_key={SECRET}",
        f"models.teacher.api_key=[{SECRET}",
        f"tracking.token={SECRET}",
        f"tracking.wandb-api-key={SECRET}",
        f"tracking={{secret: {SECRET}}}",
        f"data.train.password={SECRET}",
        f"grpo.steps={{password: {SECRET}}}",
        f"data.evaluation=[{{api_key: {SECRET}}}]",
        SERVED,
        SERVED.replace("http:", "ftp:"),
        SERVED.replace("http:", "http:/"),
        f'models.teacher={{url: "http://host/v1?key={SECRET}", model: big}}',
        f"models.teacher={{url: http://host/v1, model: big, api_key_env: {SECRET}}}",
    ],
)
@pytest.mark.parametrize("in_file", [False, True], ids=["override", "file"])
def test_it_is_refused_and_not_shown(override: str, in_file: bool, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    overrides = [override]
    if in_file and "=[sk" not in override:
        key, _, value = override.partition("=")
        nested = yaml.safe_load(value)
        for name in reversed(key.split(".")):
            nested = {name: nested}
        (path := tmp_path / "more.yaml").write_text(yaml.safe_dump({"extends": "small.yaml", **nested}))
        overrides = []
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, Experiment)
    assert SECRET not in str(caught.value) and "sk-planted" not in str(caught.value)


@pytest.mark.parametrize("model", [Experiment, StudySettings, SweepSettings, ServerSettings])
def test_no_key_of_the_settings_takes_a_secret(model: type) -> None:
    assert [path for path in schema_paths(model) if names_a_secret(path[-1])] == []
