"""The gateway's process: HTTP on sockets that `serve` has bound, until a signal ends it.

It is started by `gateway.process`, which sends it commands.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from multiprocessing.connection import Connection

from ordering_tools.local.gateway.api import declared_api
from ordering_tools.local.gateway.events import GatewayRequest
from ordering_tools.local.gateway.gateway import Gateway
from ordering_tools.local.gateway.invocations import Invocations
from ordering_tools.local.gateway.page import LocalPage
from ordering_tools.local.gateway.process import GatewaySettings
from ordering_tools.local.gateway.usage import read_planned_keys
from ordering_tools.local.hosts import is_local, refusal
from ordering_tools.local.http import Answer, HttpRequest, HttpServer
from ordering_tools.local.runtime.functions import Runner, SettingsError
from ordering_tools.local.runtime.inprocess import InProcessRunner
from ordering_tools.local.runtime.runtime import ProcessRunner
from ordering_tools.output import make_lenient

_LAST_CALLS_SECONDS = 3.0
_LAST_LINES_SECONDS = 1.0
_QUIET_SECONDS = 1.0


class Front(HttpServer):
    """The gateway's server: the API, and the page for people."""

    def __init__(self, listener: socket.socket, gateway: Gateway, hosts: Collection[str], page: LocalPage) -> None:
        super().__init__(listener)
        self._gateway = gateway
        self._hosts = hosts
        self._page = page

    def answer(self, request: HttpRequest) -> Answer:
        """Respond to a request, and print a line about it."""
        received = self._received(request)
        host = request.header("Host")
        if not is_local(host, self._hosts):
            answer = Answer(421, [("Content-Type", "text/plain; charset=utf-8")], refusal(host).encode())
        else:
            answer = self._page.answer(request) or self._from_gateway(request, received)
        return self._finish(received, answer)

    def _from_gateway(self, request: HttpRequest, received: GatewayRequest) -> Answer:
        if not self._page.is_reference(request):
            return self._gateway.answer(received)
        # Neither compressed nor compared: what is filled in is not the function's.
        kept = [one for one in received.headers if one[0].lower() not in {"accept-encoding", "if-none-match"}]
        return self._page.prepare(self._gateway.answer(replace(received, headers=kept)))

    def malformed(self, source_ip: str) -> Answer:
        """Respond to malformed HTTP."""
        received = self._received(HttpRequest("-", "/", "", [], b"", source_ip, "HTTP/1.1"))
        return self._finish(received, self._gateway.malformed(received))

    def _received(self, request: HttpRequest) -> GatewayRequest:
        return GatewayRequest(**vars(request), stage=self._gateway.stage, port=self.server_address[1])

    @staticmethod
    def _finish(request: GatewayRequest, answer: Answer) -> Answer:
        # The page asks for news every few seconds.
        if not request.path.startswith("/_local/"):
            milliseconds = (time.time() - request.time) * 1000
            sys.stdout.write(f"{request.method} {request.path} {answer.status} {milliseconds:.0f} ms\n")
            sys.stdout.flush()
        always = [("Date", formatdate(usegmt=True)), ("x-amzn-RequestId", request.request_id)]
        return replace(answer, headers=[*always, *answer.headers])


def main(listener: int, invoked: int, controlled: int) -> int:
    """Serve until the control connection closes or a signal arrives; returns the exit code.

    Args:
        listener: The descriptor of the listening socket.
        invoked: That of the listening socket for Lambda's Invoke.
        controlled: That of the connection to `serve`, which first sends the settings.
    """
    control = Connection(controlled)
    settings: GatewaySettings = control.recv()
    try:
        api = declared_api(settings.translated)
    except SettingsError as error:
        control.send(str(error))
        return 1
    runner: Runner = (
        ProcessRunner(settings.functions, settings.deployment, settings.runtime, settings.log)
        if settings.runtime
        else InProcessRunner(settings.functions, settings.deployment)
    )
    page = LocalPage(settings.state, api.routes)
    gateway = Gateway(api, runner, partial(read_planned_keys, settings.deployment.services, api.stage), settings.log)
    front = Front(socket.socket(fileno=listener), gateway, settings.hosts, page)
    invocations = Invocations(socket.socket(fileno=invoked), settings.names, runner, folded=settings.folded)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _shut_down(front))
    threading.Thread(target=invocations.serve_forever, daemon=True).start()
    threading.Thread(target=_follow_commands, args=(control, runner, invocations, front), daemon=True).start()
    control.send(None)
    front.serve_forever(poll_interval=0.1)
    # The engine's calls in flight get some time to end: a killed one costs a message one of its attempts.
    invocations.shutdown()
    invocations.drain(_LAST_CALLS_SECONDS)
    runner.stop()
    # Each call that was killed prints its line.
    invocations.drain(_LAST_LINES_SECONDS)
    return 0


def _follow_commands(control: Connection, runner: Runner, invocations: Invocations, front: Front) -> None:
    while True:
        try:
            match control.recv():
                case int(seconds):
                    bounds = (_QUIET_SECONDS, seconds)
                    threading.Thread(target=invocations.settle, args=bounds, daemon=True).start()
                case deployment:
                    runner.switch(deployment)
            control.send(None)
        except (EOFError, OSError):
            _shut_down(front)
            return


def _shut_down(front: Front) -> None:
    # In a thread, because it waits for the loop that a signal handler may have interrupted.
    threading.Thread(target=front.shutdown, daemon=True).start()


if __name__ == "__main__":
    make_lenient()  # paths of requests are printed
    code = main(*map(int, sys.argv[1:]))
    sys.stdout.flush()
    # A handler may wait at a debugger's prompt in a thread; a normal exit would wait for that thread.
    os._exit(code)
