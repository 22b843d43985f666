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
    """The descriptor of the socket to its parent: the gateway sends `ready`; then the parent sends `switch <release>`
    and `settle <seconds>`."""
    template: str
    translated: str
    """The file with the template as SAM translates it, in JSON."""
    variables: dict[str, dict[str, str]]
    """The environment variables of each deployed function, by logical id."""
    names: dict[str, str]
    """The logical id of each deployed function, by its name in the engine."""
    release: str
    endpoint: str
    services: str
    log: str
    state: str
    """The folder of the local run."""
    invocations: int
    """The descriptor of the listening socket for Lambda's Invoke."""
    folded: bool
    """Whether batches are counted, not printed, until the parent sends `settle`."""
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
