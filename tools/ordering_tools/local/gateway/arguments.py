"""The command-line argument with which `serve` starts the gateway's process."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from json import dumps, loads


@dataclass(frozen=True)
class GatewayArguments:
    """The parameters of the gateway's process."""

    listener: int
    """The descriptor of the listening socket."""
    control: int
    """The descriptor of the socket to its parent: the gateway sends `ready`, the parent `switch <release>`."""
    template: str
    release: str
    endpoint: str
    services: str
    log: str
    streams: str
    """The folder for the checkpoints of the tables' streams."""
    invocations: int
    """The descriptor of the listening socket for Lambda's Invoke."""
    hosts: list[str]
    """The names besides this machine's that requests may have in their `Host`."""
    runtime: str | None
    """The interpreter with the runtime client, or None to run functions in this process."""

    def dump(self) -> str:
        """Encode the parameters as one command-line argument."""
        return dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> GatewayArguments:
        """Decode an argument that `dump` has encoded."""
        return cls(**loads(text))
