"""What `serve` tells the gateway's process, on its command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from json import dumps, loads


@dataclass(frozen=True)
class GatewayArguments:
    """What the gateway's process is started with."""

    listener: int
    """The descriptor of the listening socket."""
    control: int
    """The descriptor of the socket to its parent: it says `ready`, and takes `switch <release>`."""
    template: str
    release: str
    endpoint: str
    services: str
    log: str
    streams: str
    """The folder for how far the tables' streams have been read."""
    invocations: int
    """The descriptor of the listening socket of Lambda's Invoke."""
    runtime: str | None
    """The interpreter with the runtime client, or None to run functions in this process."""

    def dump(self) -> str:
        """As one argument of a command line."""
        return dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> GatewayArguments:
        """From that argument."""
        return cls(**loads(text))
