"""Removes from the layer what no function uses.

    trim.py FOLDER    the folder that the packages were installed into

- botocore's definitions of services that are not called. It has those of 400, which are most of its size. To make a
  client it searches the folders of all of them, and parses the endpoints of all.
- The pages of Powertools' API browser, which no function serves, and its utilities that no function calls.
- pydantic's first version, which it has beside the second.
- What compiles C for cffi. cryptography needs only the extension that cffi has beside it.
- Installers' records: they hash scripts that name this machine's interpreter, so that no two machines built the same.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

SERVICES = {
    "codedeploy": "codedeploy",
    "dynamodb": "dynamodb",
    "events": "events",
    "kms": "kms",
    "lambda": "lambda",
    "sesv2": "email",
    "sqs": "sqs",
}
"""The services that functions call, by botocore's names, and their names in its endpoints."""

UNUSED = (
    "*.dist-info/RECORD",
    "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.min.*",
    "aws_lambda_powertools/utilities/auth_alpha",
    "aws_lambda_powertools/utilities/batch",
    "aws_lambda_powertools/utilities/circuit_breaker",
    "aws_lambda_powertools/utilities/data_masking",
    "aws_lambda_powertools/utilities/feature_flags",
    "aws_lambda_powertools/utilities/idempotency",
    "aws_lambda_powertools/utilities/kafka",
    "aws_lambda_powertools/utilities/parameters",
    "aws_lambda_powertools/utilities/parser",
    "aws_lambda_powertools/utilities/streaming",
    "aws_lambda_powertools/utilities/validation",
    "cffi",
    "pycparser",
    "pydantic/v1",
)
"""Files and folders that no function imports."""


def trim(packages: Path) -> None:
    """Remove files from the folder of the installed packages.

    Raises:
        OSError, KeyError: A package is not there, or has another form: adapt this to its version.
    """
    data = packages / "botocore" / "data"
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)
    endpoints = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))
    for partition in endpoints["partitions"]:
        named = partition["services"]
        partition["services"] = {name: named[name] for name in sorted(SERVICES.values()) if name in named}
    (data / "endpoints.json").write_text(json.dumps(endpoints), encoding="utf-8")
    for pattern in UNUSED:
        found = [*packages.glob(pattern)]
        if not found:
            raise FileNotFoundError(f"nothing is called {pattern}")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
