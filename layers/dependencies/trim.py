"""Removes from the layer what no function uses.

    trim.py FOLDER    the folder that the packages were installed into

- botocore's definitions of services that are not called. It has those of 400, which are most of its size. To make a
  client it searches the folders of all of them, and parses the endpoints of all.
- The pages of Powertools' API browser, which no function serves.
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


def trim(packages: Path) -> None:
    """Remove files from the folder of the installed packages.

    Raises:
        OSError, KeyError: botocore is not there, or its data have another form: adapt this to its version.
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
    for pattern in ("*.dist-info/RECORD", "aws_lambda_powertools/event_handler/openapi/swagger_ui/*.min.*"):
        for path in packages.glob(pattern):
            path.unlink()


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
