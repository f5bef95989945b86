"""Reads and writes YAML with the scalars of YAML 1.2. `no`, `010` and `1:30` mean something else in YAML 1.1.

Only true and false are booleans. `010` is ten, and `0o10` is eight. `1e-6` is a number. `yes`, `no`, `on`, `off`, `1_000`,
`1:30` and dates are text. Merge keys (`<<`) stay, though YAML 1.2 has none.
"""

from __future__ import annotations

import re

import yaml

_STR = "tag:yaml.org,2002:str"
_NULL = ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0")
_BOOL = ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF")
_INT = ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_FLOAT = (
    "tag:yaml.org,2002:float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+.0123456789",
)
_MERGE = ("tag:yaml.org,2002:merge", r"<<", "<")


MOST_VALUES = 100_000
"""values of one document, where each alias counts as all that it stands for"""
_MOST_DIGITS = 400
_CHARACTERS = 100
"""so many characters of a text count as a further value"""

HALF_OF_A_CHARACTER = "text has half of a character (a lone surrogate), which no file can hold"


def half_of_a_character(text: str) -> bool:
    """Return whether the text has a surrogate. An escape like `\\ud83d` alone makes one, and so do bytes that are not UTF-8."""
    return any("\ud800" <= character <= "\udfff" for character in text)


class Loader(yaml.SafeLoader):
    """Reads YAML with the scalars of YAML 1.2."""

    yaml_implicit_resolvers = {}  # do not inherit the resolvers of YAML 1.1

    def get_single_node(self) -> yaml.Node | None:
        """Return the document's node.

        Raises `yaml.YAMLError` if its aliases, written out, make it too large, or if an alias contains itself.
        """
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _size(node, {}) > MOST_VALUES:
            text = f"with its aliases written out, it has more than {MOST_VALUES} values"
            raise yaml.constructor.ConstructorError(None, None, text, node.start_mark)
        return node

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        if half_of_a_character(text):
            raise yaml.constructor.ConstructorError(None, None, HALF_OF_A_CHARACTER, node.start_mark)
        return text

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        if len(text) > _MOST_DIGITS:  # Python refuses to write such a number in a message
            text = f"a number has more than {_MOST_DIGITS} digits"
            raise yaml.constructor.ConstructorError(None, None, text, node.start_mark)
        for prefix, base in (("0o", 8), ("0x", 16)):
            if text.startswith(prefix):
                return int(text.removeprefix(prefix), base)
        return int(text)


_NOT_YET = 0
"""the size of a node whose own values are being counted"""


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values the node stands for. `known` are the sizes of nodes by their id.

    It takes time for each node once, however many aliases name the node.
    Raises `yaml.YAMLError` if an alias contains itself.
    """
    if (size := known.get(id(node))) == _NOT_YET:
        raise yaml.constructor.ConstructorError(None, None, "an alias should not contain itself", node.start_mark)
    if size is not None:
        return size
    known[id(node)] = _NOT_YET
    below: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        below = node.value
    elif isinstance(node, yaml.MappingNode):
        below = [one for pair in node.value for one in pair]
    text = len(node.value) // _CHARACTERS if isinstance(node, yaml.ScalarNode) else 0
    known[id(node)] = size = 1 + text + sum(_size(one, known) for one in below)
    return size


for _tag, _pattern, _first in (_NULL, _BOOL, _INT, _FLOAT, _MERGE):
    Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), ["" if c == "\0" else c for c in _first])
Loader.add_constructor(_INT[0], Loader.construct_yaml_int)
Loader.add_constructor(_STR, Loader.construct_yaml_str)


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes if YAML 1.1 or 1.2 would not read it as text."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # A plain or single-quoted scalar would turn YAML's other line breaks into spaces; a double-quoted one escapes them.
        style = '"' if any(mark in text for mark in "\x85\u2028\u2029") else None
        return self.represent_scalar(_STR, text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
for _tag, _pattern, _first in (_INT, _FLOAT):
    _Dumper.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), list(_first))


def read(text: str | bytes) -> object:
    """Return the value of a YAML document. Raises `yaml.YAMLError`."""
    try:
        return yaml.load(text, Loader)
    except (ValueError, AttributeError, KeyError) as error:  # such as `!!int x`, `!!timestamp x` and `!!bool x`
        raise yaml.YAMLError("a value does not fit its tag, or is too long") from error
    except RecursionError as error:
        raise yaml.YAMLError("values are nested too deeply") from error


def written(value: object) -> str:
    """Return the value as a YAML document, which `read` reads back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def in_one_line(value: object) -> str:
    """Return the value as YAML in one line, as it can stand in an override."""
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("...\n").strip()  # `...` ends the document of a plain scalar
