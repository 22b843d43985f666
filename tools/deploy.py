"""`make deploy`: deploys a build with a section of `samconfig.toml`, and so that changed parameters take effect.

SAM publishes a new version of a function if its code or its environment changes in the template, not if only the value
of a parameter does: the alias would keep the old version, with the old value. So the parameters are made part of
RELEASE, which all functions have in their environment.

    deploy.py SECTION [NAME=VALUE …] [OPTION …]    parameters besides those of the section or in their place, which stay
                                                   set; further options of `sam deploy`, as --no-execute-changeset
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from package import PackageError, for_release

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
CONFIGURATION = ROOT / "samconfig.toml"
SAM = ROOT / ".venvs" / "sam" / "bin" / "sam"


def parameters_of(configuration: Mapping[str, Any], section: str) -> list[str]:
    """Return the parameters that a section sets, each as `Name=value`.

    Raises:
        PackageError: There is no such section.
    """
    sections = sorted(name for name in configuration if name != "version")
    if section not in sections:
        raise PackageError(f"TO is {section!r}, but must be a section of {CONFIGURATION.name}: {', '.join(sections)}")
    found: str | list[str] = (
        configuration[section].get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
    )
    return sorted(found.split() if isinstance(found, str) else found)


def with_parameters(template: str, parameters: list[str]) -> str:
    """Return a built template whose RELEASE names the build and the parameters.

    Raises:
        PackageError: The template's functions have no RELEASE of a build.
    """
    releases = [line.split()[1] for line in template.splitlines() if line.strip().startswith("RELEASE: ")]
    if len(releases) != 1 or releases[0] == "local":
        raise PackageError(f"{BUILT.relative_to(ROOT)} has no release; build it by `make build`")
    build = releases[0].partition("-")[0]
    digest = hashlib.sha256(json.dumps(parameters).encode()).hexdigest()[:8]
    return for_release(template, f"{build}-{digest}")


def overridden(parameters: list[str], others: list[str]) -> list[str]:
    """Return parameters with others besides them or in their place, each as `Name=value`."""
    return sorted({one.partition("=")[0]: one for one in (*parameters, *others)}.values())


def write_release(section: str, others: list[str]) -> list[str]:
    """Write the release of a section, and of other parameters, into the built template; returns all parameters.

    Raises:
        PackageError: There is no such section, or nothing is built.
    """
    parameters = overridden(parameters_of(tomllib.loads(CONFIGURATION.read_text(encoding="utf-8")), section), others)
    if not BUILT.exists():
        raise PackageError(f"there is no {BUILT.relative_to(ROOT)}; build it by `make build`")
    BUILT.write_text(with_parameters(BUILT.read_text(encoding="utf-8"), parameters), encoding="utf-8")
    return parameters


def main(arguments: list[str]) -> int:
    """Write the release, and run `sam deploy`; returns the exit code."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    section, *more = arguments
    others = [one for one in more if "=" in one and not one.startswith("-")]
    options = [one for one in more if one not in others]
    try:
        parameters = write_release(section, others)
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    command = [SAM, "deploy", "--template-file", BUILT, "--config-env", section, *options]
    command += ["--parameter-overrides", *parameters] if others else []
    done = subprocess.run(  # noqa: S603 - SAM CLI of the project's environment
        [str(part) for part in command], cwd=ROOT, env={**os.environ, "SAM_CLI_TELEMETRY": "0"}, check=False
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
