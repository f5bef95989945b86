"""The arguments of commands that take an experiment: its file, and overrides whose keys a shell completes."""

from __future__ import annotations

import os
from pathlib import Path

import click
import click.shell_completion

from cluster.store.urls import is_url
from pipelines.experiment.errors import below
from pipelines.experiment.schema import Experiment

FILE = click.Path(dir_okay=False, path_type=Path)


class _RunPlace(click.Path):
    """The folder of a run, or its URL in a store."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        return value if is_url(str(value)) else super().convert(value, param, ctx)


class _Keys(click.ParamType):
    """An override `key.sub=value`. A shell can complete its keys."""

    name = "key.sub=value"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        if "=" in incomplete:
            return []
        *above, begun = incomplete.split(".")
        types: list[object] = [Experiment]
        for name in above:
            types = below(types, name)
        found: list[click.shell_completion.CompletionItem] = []
        for kind in types:
            for name in getattr(kind, "model_fields", {}):
                if name.startswith(begun):
                    deeper = any(hasattr(one, "model_fields") for one in below([kind], name))
                    key = ".".join([*above, name]) + ("." if deeper else "=")
                    found.append(click.shell_completion.CompletionItem(key))
        return found


RUN_PLACE = click.argument("run_dir", type=_RunPlace(file_okay=False))
overrides = click.argument("overrides", nargs=-1, metavar="[key.sub=value]...", type=_Keys())
