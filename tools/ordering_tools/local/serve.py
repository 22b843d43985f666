"""`ordering serve`: runs the whole stack on one machine, and reloads changed sources until a signal ends it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ordering_tools.demo.greeting import Prepared
from ordering_tools.installation import Installation, open_at
from ordering_tools.local.engine.deployment import deploy, environments, translate
from ordering_tools.local.engine.engine import (
    ENDPOINT_VARIABLE,
    Engine,
    EngineError,
    create_tables,
    dynamodb,
)
from ordering_tools.local.engine.mails import mails_url
from ordering_tools.local.engine.state import Running, State, StateError
from ordering_tools.local.gateway.process import GatewayError, GatewayProcess, GatewaySettings
from ordering_tools.local.runtime.build import BuildError, build
from ordering_tools.local.runtime.functions import Deployment, SettingsError, declared_functions
from ordering_tools.local.runtime.watch import Watcher
from ordering_tools.operations.commands import LARGEST_PORT, PORT
from ordering_tools.stacks import DeploymentError
from ordering_tools.template import Template, TemplateError

ROOT = Path(__file__).resolve().parents[3]
HOST = "127.0.0.1"

_ENVIRONMENTS = ROOT / ".venvs"
_PROBLEMS = (BuildError, DeploymentError, EngineError, GatewayError, SettingsError, TemplateError)
_TICK_SECONDS = 0.25
_FOLDER = click.Path(path_type=Path, resolve_path=True)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PortTakenError(Exception):
    """Another program listens on the port, or this user may not."""


class Stopped(BaseException):
    """A signal asked this process to end."""


@dataclass(frozen=True)
class Options:
    """The options of a local run."""

    port: int = 3000
    """0 takes any free port."""
    state: Path = ROOT / ".ordering"
    template: Path = ROOT / "template.yaml"
    target: Path = ROOT / ".build" / "local"
    """The folder for builds, which contains the layer of dependencies already."""
    fresh: bool = False
    debug: bool = False
    verbose: bool = False
    bare: bool = False
    engine_host: str = HOST
    engine_port: int = 0
    """0 is any free port."""
    hosts: Sequence[str] = ()
    """The names besides 127.0.0.1 and localhost that requests to the gateway may have in their `Host`."""

    @property
    def runtime(self) -> Path | None:
        """The interpreter for the functions' processes; None if they run in the gateway's process."""
        python = _ENVIRONMENTS / "runtime" / "bin" / "python"
        return python if python.exists() and not self.debug else None


class LocalRun:
    """A running stack."""

    def __init__(self, options: Options, listener: socket.socket, state: State) -> None:
        """Start the stack, and print each step with its duration.

        Raises:
            BuildError, EngineError, GatewayError, SettingsError, TemplateError: It cannot be started.
        """
        self._options = options
        self._listener = listener
        self._state = state
        self._log_end = state.log.stat().st_size if state.log.exists() else 0
        self.base_url = _url(listener)
        self._children = ExitStack()
        try:
            self._invocations = self._children.enter_context(listen(0))
            with step("build"):
                self._release = build(options.template, options.target)
            self._engine = self._start_engine()
            with step("translation"):
                self._translate()
            with step("engine"):
                self._engine.wait()
            with step("deployment"):
                self._deploy()
            with step("order books"):
                self._convert_books()
            # Before functions run: when they settle a book, they void open positions that are dated in the past.
            prepared = Prepared("", seeded=False) if options.bare else self._load_demo()
            self._gateway = self._start_gateway(folded=not options.bare)
            with step("gateway"):
                self._gateway.wait()
            if not options.bare:
                # New orders of the demo have some seconds of work left, which must not scroll the calls away.
                self._gateway.settle(30 if prepared.seeded else 0)
            self._watcher = Watcher(options.template)
            state.announce(
                Running(
                    base_url=self.base_url,
                    endpoint=self._engine.endpoint,
                    services=self._engine.services,
                    functions=_url(self._invocations),
                    template=str(options.template),
                    process=os.getpid(),
                )
            )
        except BaseException:
            self.stop()
            raise
        self._introduce(prepared)

    def tick(self) -> None:
        """Check the processes, print new log lines if verbose, and reload changed sources.

        Raises:
            EngineError, GatewayError: A process of the stack has ended.
        """
        if not self._engine.alive:
            raise self._engine.ended()
        if not self._gateway.alive:
            raise self._gateway.ended()
        if self._options.verbose:
            self._show_log()
        if changed := self._watcher.changed():
            self._reload(changed)

    def stop(self) -> None:
        """End all processes, the engine last, after it has written its data."""
        self._children.close()

    def _start_engine(self) -> Engine:
        engine = Engine(
            _ENVIRONMENTS / "engine" / "bin" / "python",
            self._state.engine,
            functions=_url(self._invocations),
            descriptors=(self._state.lock,),
            address=(self._options.engine_host, self._options.engine_port),
            endpoint=os.environ.get(ENDPOINT_VARIABLE),
        )

        def stop() -> None:
            if not engine.stop():
                echo("the engine had to be killed: data written in this run is lost")

        self._children.callback(stop)
        return engine

    def _convert_books(self) -> None:
        """Convert books that an earlier release has left in the state, before a function reads them."""
        from ordering_tools.operations.conversion import convert_books  # noqa: PLC0415 - as in `_load_demo`

        opened = self._open()
        # Tests of the local run have stacks without these tables.
        tables = {"OrdersTable": opened.orders, "CatalogueTable": opened.catalogue}
        for name in tables.keys() & self._stack.resources.keys():
            convert_books(tables[name])

    def _load_demo(self) -> Prepared:
        # Imported here, because tests of the local run itself do not need it.
        from ordering_tools.demo import training as demo  # noqa: PLC0415 - as above

        with step("demo data"):
            return demo.prepare(self._open(), self._state.folder, self.base_url)

    def _open(self) -> Installation:
        return open_at(self._engine.endpoint, self._engine.services, self._state.folder, self._stack)

    def _start_gateway(self, *, folded: bool = False) -> GatewayProcess:
        runtime = self._options.runtime
        layers = [] if runtime else sorted(self._release.glob("*/python"))
        variables = environments(self._engine.services, self._stack)
        # The gateway's own errors lead to the guide that this run serves, which is at no address of AWS's.
        translated = Template(self._translated).with_parameters(DocumentationUrl=self.base_url)
        settings = GatewaySettings(
            translated=translated,
            functions=declared_functions(translated, Template.load(self._options.template), variables),
            names={self._stack.resources[name]: name for name in variables},
            deployment=Deployment(self._release, self._engine.endpoint, self._engine.services),
            log=self._state.log,
            state=self._state.folder,
            runtime=runtime,
            folded=folded,
            hosts=tuple(self._options.hosts),
        )
        gateway = GatewayProcess(self._listener, self._invocations, settings, layers)
        self._children.callback(gateway.stop)
        return gateway

    def _translate(self) -> None:
        python = _ENVIRONMENTS / "sam" / "bin" / "python"
        translated = translate(self._options.template, python, self._options.target / "translated")
        self._translated = json.loads(translated.read_text(encoding="utf-8"))

    def _deploy(self) -> None:
        services = self._engine.services
        self._stack = deploy(services, self._translated)
        if self._engine.endpoint != services:
            tables = Template.load(self._options.template).tables
            named = [
                replace(table, create={**table.create, "TableName": self._stack.resources[table.name]})
                for table in tables
            ]
            create_tables(dynamodb(self._engine.endpoint), named)

    def _reload(self, changed: list[Path]) -> None:
        """Rebuild and use the changed sources; keep the old ones if the new ones cannot be built."""
        names = ", ".join(os.path.relpath(path) for path in changed[:3]) + (" …" if len(changed) > 3 else "")
        try:
            with step(f"reload: {names}"):
                self._release = build(self._options.template, self._options.target)
                if self._options.template in changed or not self._options.runtime:
                    self._restart_gateway()
                else:
                    self._gateway.switch(self._release)
        except _PROBLEMS as error:
            if not self._gateway.alive:
                raise
            echo(f"not reloaded: {error}")

    def _restart_gateway(self) -> None:
        """Replace the gateway's process; the socket stays open, so that callers wait until the new one accepts."""
        self._translate()
        self._deploy()
        before, self._gateway = self._gateway, self._start_gateway()
        try:
            self._gateway.wait()
        except GatewayError:
            self._gateway.stop()
            self._gateway = before
            raise
        before.stop()

    def _introduce(self, prepared: Prepared) -> None:
        options = self._options
        if not options.runtime and not options.debug:
            echo("  AWS's runtime client is not available: functions run in the gateway's process, one call at a time")
        if options.debug:
            echo("  functions run in the gateway's process, one call at a time: breakpoint() works in this terminal")
        echo(f"\nserving {self.base_url}   (data in {os.path.relpath(self._state.folder)}, kept; Ctrl-C stops)")
        unread = ", whose streams are not read: orders stay as they are placed"
        engine = self._engine
        streams = unread if engine.endpoint != engine.services else ""
        echo(f"  DynamoDB {engine.endpoint}{streams}; functions' log {os.path.relpath(self._state.log)}")
        if any(found["Type"].startswith("AWS::SES::") for found in self._translated["Resources"].values()):
            echo(f"  mails are kept, not delivered: `ordering mail list`, or {mails_url(engine.services)}")
        if prepared.text:
            echo(f"\n{prepared.text}")
        if prepared.seeded:
            echo("\nfulfilling the demo's orders, for some seconds …")

    def _show_log(self) -> None:
        with suppress(FileNotFoundError), self._state.log.open("rb") as log:
            log.seek(self._log_end)
            news = log.read()
        self._log_end += len(news)
        if news:
            echo(news.decode("utf-8", "replace").rstrip("\n"))


def serve(options: Options) -> int:
    """Run the stack until a signal ends it; returns the exit code.

    0 after Ctrl-C, SIGTERM or SIGHUP; 1 if the stack cannot be started or a process of it ends; 2 if its port or its
    state folder is in use.
    """
    failed = "cannot start"
    with ExitStack() as held:
        try:
            # First, so that from here on a signal ends everything that has been started, once.
            for number in _SIGNALS:
                signal.signal(number, _stop)
            listener = held.enter_context(listen(options.port))
            state = State(options.state, fresh=options.fresh)
            held.callback(state.release)
            run = LocalRun(options, listener, state)
            held.callback(run.stop)
            failed = "stopping"
            while True:
                run.tick()
                time.sleep(_TICK_SECONDS)
        except Stopped:
            echo("\nstopping")
        except (PortTakenError, StateError) as error:
            echo(str(error))
            return 2
        except _PROBLEMS as error:
            echo(f"{failed}: {error}")
            return 1
    return 0


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback address; port 0 takes any free port.

    It stays open for the whole run, so that no other program gets the port while a gateway is replaced.

    Raises:
        PortTakenError: Another program listens on the port, on this address or on all, or this user may not.
    """
    other = port + 1 if port < LARGEST_PORT else Options.port
    taken = f"port {port} is taken by another program; stop that, or choose another: `make serve PORT={other}`"
    with socket.socket() as probe:
        probe.settimeout(1)
        # Some systems let a second program listen on the port, if the first one listens on all addresses.
        if port and probe.connect_ex((HOST, port)) == 0:
            raise PortTakenError(taken)
    try:
        return socket.create_server((HOST, port), backlog=128)
    except PermissionError as error:
        raise PortTakenError(f"this user may not listen on port {port}; choose one from 1024 on") from error
    except OSError as error:
        raise PortTakenError(taken) from error


def _url(listener: socket.socket) -> str:
    return f"http://{HOST}:{listener.getsockname()[1]}"


def _stop(*_: object) -> None:
    """Handle the first signal that ends a process, and ignore later ones."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Stopped


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the name of a step and its duration."""
    began = time.monotonic()
    yield
    echo(f"  {name}: {time.monotonic() - began:.2f} s")


def echo(line: str) -> None:
    """Print a line to the terminal, if it is still open."""
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


@click.command(
    context_settings={"show_default": True},
    epilog="""`make serve` runs this command.

\b
Examples:
  ordering serve --port 3999
  ordering serve --fresh --verbose
""",
)
@click.option("--port", type=PORT, default=Options.port, help="The port on 127.0.0.1; 0: any free port.")
@click.option("--fresh", is_flag=True, help="Delete the data of earlier runs and start over.")
@click.option("--debug", is_flag=True, help="Run all functions in one process, so that breakpoint() works.")
@click.option("--verbose", is_flag=True, help="Print the functions' logs.")
@click.option("--bare", is_flag=True, help="Do not load the demo data.")
@click.option("--state", type=_FOLDER, default=Options.state, help="The folder for the data.")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    type=str.lower,
    metavar="NAME",
    help="A name besides 127.0.0.1 and localhost under which callers may reach the gateway, as through a tunnel; "
    "repeatable.",
)
@click.option(
    "--engine-port",
    type=PORT,
    default=Options.engine_port,
    envvar="ORDERING_ENGINE_PORT",
    help="The port of the engine, which has the tables and all other services; 0: any free port.",
)
@click.option(
    "--engine-host",
    default=Options.engine_host,
    envvar="ORDERING_ENGINE_HOST",
    metavar="ADDRESS",
    help="The address that the engine listens on. It asks for no credentials: each program that reaches the address "
    "can read and change everything. `sam local` on Linux needs the Docker bridge's.",
)
@click.option("--template", type=_FOLDER, default=Options.template, hidden=True)
@click.option("--build", "target", type=_FOLDER, default=Options.target, hidden=True)
def command(**chosen: Any) -> int:
    """Run the API on this machine, with demo data, until Ctrl-C."""
    return serve(Options(**chosen))


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))
