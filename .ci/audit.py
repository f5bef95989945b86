"""Writes what is known of an environment's packages into a folder: vulnerabilities, licences and an SBOM.

Called as `python .ci/audit.py <bin of the tools> <python of the environment> <folder>`. Ends with 1 if a vulnerability is known. Where the
data on vulnerabilities cannot be reached it says so in one line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def main(tools: Path, python: Path, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    licences, sbom = folder / "licences.md", folder / "sbom.json"
    listed = ["--python", str(python), "--format=markdown", "--with-urls", f"--output-file={licences}"]
    subprocess.run([tools / "pip-licenses", *listed], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([tools / "cyclonedx-py", "environment", "--of", "JSON", "-o", sbom, python], check=True)
    print(f"licences: {licences}")
    print(f"SBOM: {sbom}")
    return vulnerabilities(tools, python, folder / "vulnerabilities.json")


def vulnerabilities(tools: Path, python: Path, report: Path) -> int:
    """Ask pip-audit, and say what it found. It calls all well if its index knows no package, and ends with 1 if none answers."""
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
    report.unlink(missing_ok=True)
    command = [tools / "pip-audit", "--path", packages, "--progress-spinner=off", "--format=json", "--output", report]
    asked = subprocess.run(command, capture_output=True, text=True)
    found = json.loads(report.read_text())["dependencies"] if report.exists() else []
    known = [one for one in found if "skip_reason" not in one]
    if not known:
        said = asked.stderr.strip().splitlines()
        reason = f"its index knows none of the {len(found)} packages" if found or not said else said[-1]
        print(f"vulnerabilities: not known, because pip-audit cannot reach its data: {reason[:200]}")
        return 0
    bad = [one for one in known if one["vulns"]]
    for one in bad:
        print(f"{one['name']} {one['version']}: {', '.join(vulnerability['id'] for vulnerability in one['vulns'])}")
    unknown = len(found) - len(known)
    print(
        f"vulnerabilities: {len(bad)} of {len(known)} packages have one, {unknown} are not known to the index: {report}"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
