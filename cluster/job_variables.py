"""Hands environment variables to a job, so that their values are in no job info, no log and no file.

Ray shows a job's `env_vars` in plain text to `ray job list`, to its HTTP API and in its logs; only browsers get them hidden.
So the values are left in the cluster's key-value store, under a name that nobody can guess. The job's entrypoint has that
name. It takes the values out, deletes them there, and becomes the job's own command. What is not taken, Ray deletes after ten
minutes, as it does with uploads that no job uses.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_PROTOCOL = "gcs"
_NAME = "_ray_pkg_{}.zip"
"""Ray stores only packages for a client of its Jobs API, and deletes only those that no job uses."""


def leave(client: JobSubmissionClient, values: Mapping[str, str]) -> str:
    """Leave `values` on the cluster, and return the name under which a job takes them."""
    name = _NAME.format(secrets.token_hex(20))
    client._package_exists(f"{_PROTOCOL}://{name}")  # from this question on Ray counts the ten minutes
    answer = client._do_request("PUT", f"/api/packages/{_PROTOCOL}/{name}", data=json.dumps(dict(values)).encode())
    if answer.status_code != 200:
        client._raise_error(answer)
    return name


def entrypoint(name: str, command: Sequence[str]) -> list[str]:
    """Return the command that takes the values called `name` and then becomes `command`."""
    return ["python", "-m", "cluster.job_variables", name, *command]


def take(name: str) -> dict[str, str]:
    """Return the values called `name`, and delete them from the cluster. Raises `KeyError` if they are not there."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    store, key = GcsClient(address=os.environ["RAY_ADDRESS"]), f"{_PROTOCOL}://{name}".encode()
    found = store.internal_kv_get(key, None)
    if found is None:
        raise KeyError(name)
    store.internal_kv_del(key, False, None)
    values: dict[str, str] = json.loads(found)
    return values


def main(arguments: Sequence[str]) -> None:
    """Set the variables, and become the command."""
    name, *command = arguments
    try:
        os.environ.update(take(name))
    except KeyError:
        sys.exit(
            "the variables of this job are no longer on the cluster, since they are given once: submit the run again"
        )
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
