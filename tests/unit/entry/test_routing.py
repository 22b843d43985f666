"""Powertools' packages run their `__init__` only when something needs what it has."""

from __future__ import annotations

import subprocess
import sys

NEW_PROCESS = """
import sys
from ordering.entry import routing

loaded = {"asyncio", "aws_lambda_powertools.logging", "aws_lambda_powertools.tracing"} & {*sys.modules}
assert not loaded, loaded

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, AppSyncResolver, content_types
from aws_lambda_powertools.utilities.data_classes import ALBEvent, SQSEvent
from aws_lambda_powertools.utilities.data_classes.alb_event import ALBEvent as TheSame

assert APIGatewayRestResolver is routing.APIGatewayRestResolver
assert ALBEvent is TheSame
assert AppSyncResolver.__module__ in sys.modules
assert SQSEvent.__module__ in sys.modules
assert content_types.APPLICATION_JSON == "application/json"
assert Logger.__module__ == "aws_lambda_powertools.logging.logger"
try:
    from aws_lambda_powertools.event_handler import NoSuchName
except ImportError as error:
    assert "NoSuchName" in str(error)
else:
    raise AssertionError("a name that does not exist was imported")
"""


def test_packages_of_powertools_run_when_they_are_needed() -> None:
    """The router alone loads little; any other name of the packages is there when it is asked for."""
    ran = subprocess.run([sys.executable, "-c", NEW_PROCESS], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
