"""Prints template.yaml in JSON as SAM translates it for CloudFormation; `make check` runs it in SAM CLI's environment.

`sam validate --lint` checks the template before its translation, so it does not find a dangling reference or an invalid
event in the translated template. The lint of this output does. Nothing here calls AWS.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml
from samcli.commands.validate.lib.exceptions import InvalidSamDocumentException
from samcli.lib.translate import sam_template_validator
from samcli.yamlhelper import yaml_parse

# SAM CLI reads and writes YAML in Python, and writes it twice, which takes longer than the translation.
sam_template_validator.yaml_dump = json.dumps
if yaml.__with_libyaml__:
    yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[assignment, misc] # it has the same interface


def main(path: str) -> int:
    """Print the translated template in JSON; returns the exit code."""
    template = yaml_parse(Path(path).read_text(encoding="utf-8"))
    # AWS's managed policies can be read only from AWS; the template uses none.
    no_policies = SimpleNamespace(load=dict)
    validator = sam_template_validator.SamTemplateValidator(template, no_policies, region="eu-west-1")
    try:
        sys.stdout.write(validator.get_translated_template_if_valid())
    except InvalidSamDocumentException as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
