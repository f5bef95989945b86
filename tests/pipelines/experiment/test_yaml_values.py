"""Reading YAML: whatever is wrong with a document, it is a `YAMLError`."""

from pathlib import Path

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.experiment import yaml_values


def of_aliases(levels: int, first: str, again: str) -> str:
    """Return a document of nine aliases to nine aliases and so on, `levels` deep."""
    lines = [first, *(again.format(name=f"a{n}", below=", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels))]
    return "\n".join(lines)


TOO_LARGE = of_aliases(9, "a0: &a0 {x: 1}", "{name}: &{name} {{<<: [{below}]}}")
UNREADABLE = [
    "seed: !!int x",
    "seed: !!timestamp x",
    "seed: !!bool x",
    "seed: " + "9" * 5000,
    "[" * 3000 + "]" * 3000,
    "seed: 0x" + "f" * 5000,
    "seed: 1\0",
    of_aliases(9, "a0: &a0 [1]", "{name}: &{name} [{below}]"),
    TOO_LARGE,
    f"text: &text {'x' * 10_000}\nmany: [{', '.join(['*text'] * 1000)}]",
    "a: &a [*a]",
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


def test_a_document_that_grows_without_end_is_named_with_its_bound() -> None:
    with pytest.raises(yaml.YAMLError, match="aliases written out, it has more than 100000 values"):
        yaml_values.read(TOO_LARGE)


def test_aliases_within_the_bound_stand_for_what_they_name() -> None:
    text = of_aliases(3, "a0: &a0 [1]", "{name}: &{name} [{below}]")
    read = yaml_values.read(text)
    assert isinstance(read, dict) and read["a2"] == [[[1]] * 9] * 9
