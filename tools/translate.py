"""Prints template.yaml as SAM translates it for CloudFormation; `make check` runs it in SAM CLI's environment.

`sam validate --lint` checks the template before its translation, so it does not find a dangling reference or an invalid
event in the translated template. The lint of this output does. Nothing here calls AWS.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from samcli.commands.validate.lib.exceptions import InvalidSamDocumentException
from samcli.lib.translate.sam_template_validator import SamTemplateValidator
from samcli.yamlhelper import yaml_parse


def main(path: str) -> int:
    """Print the translated template; returns the exit code."""
    template = yaml_parse(Path(path).read_text(encoding="utf-8"))
    # AWS's managed policies can be read only from AWS; the template uses none.
    no_policies = SimpleNamespace(load=dict)
    validator = SamTemplateValidator(template, no_policies, region="eu-west-1")
    try:
        sys.stdout.write(validator.get_translated_template_if_valid())
    except InvalidSamDocumentException as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
