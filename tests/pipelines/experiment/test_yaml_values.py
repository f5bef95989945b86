"""Reading YAML: whatever is wrong with a document, it is a `YAMLError`."""

from pathlib import Path

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.experiment import yaml_values

UNREADABLE = [
    "seed: !!int x",
    "seed: !!timestamp x",
    "seed: !!bool x",
    "seed: " + "9" * 5000,
    "[" * 3000 + "]" * 3000,
    "seed: 1\0",
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_document_that_cannot_be_read_is_a_yaml_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        yaml_values.read(text)


@pytest.mark.parametrize("text", UNREADABLE)
@pytest.mark.parametrize("command", ["run", "study"])
def test_a_file_that_cannot_be_read_ends_a_command_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, text: str
) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    assert main([command, str(file), "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}") and "cannot be read as YAML" in line
