"""Print template.yaml as CloudFormation gets it: run by `make check` in the SAM CLI's environment, without AWS.

`sam validate --lint` looks at the template before its translation, so a dangling reference or a bad event in what SAM
makes of it passes; the lint of this output finds it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from samcli.commands.validate.lib.exceptions import InvalidSamDocumentException
from samcli.lib.translate.sam_template_validator import SamTemplateValidator
from samcli.yamlhelper import yaml_parse


class NoManagedPolicies:
    """Stands in for the list of AWS's managed policies, which only an AWS account can read; we name none."""

    def load(self) -> dict[str, str]:
        """Return no policies."""
        return {}


def main(path: str) -> int:
    """Print the translated template; returns the exit code."""
    template = yaml_parse(Path(path).read_text(encoding="utf-8"))
    validator = SamTemplateValidator(template, NoManagedPolicies(), region="eu-west-1")
    try:
        sys.stdout.write(validator.get_translated_template_if_valid())
    except InvalidSamDocumentException as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
