"""The relay server as a Serve application, for `serve deploy`, `serve build` and KubeRay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from actors.serving.application import application
from cluster.settings import Settings
from pipelines.serving.target import server_settings

if TYPE_CHECKING:
    from ray.serve import Application


class ApplicationArguments(Settings):
    """`args` of the application in a Serve config file."""

    settings: Path = Field(description="a server's file, or the folder of a finished run")
    overrides: list[str] = Field([], description="key.sub=value, as on the command line")


def build(args: dict[str, object]) -> Application:
    """Return the application that the arguments describe. Host and port are Serve's own: `http_options` in its config file."""
    arguments = ApplicationArguments.model_validate(args)
    return application(server_settings(arguments.settings, arguments.overrides))
