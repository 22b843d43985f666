"""What a start takes, of every function as `make build` makes it, beside what others would deploy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import median

from benchmarks.artefacts.meters import HardwareCounter, InstructionCounter, choose
from benchmarks.artefacts.processes import Candidate
from benchmarks.artefacts.scenarios import NOTHING, Recorded, Scenario, answer_of, compared, record
from benchmarks.plot import Bars, draw_bars
from benchmarks.report import Must, Results, Section, budget

NAME = "startup"
PLOT = "startup.png"
ROUNDS = 7
OTHERS = 3
"""Rounds of the functions that have no reference of their own."""
WARM = 3
"""Answers after the first whose instructions are counted, for the plot."""


@dataclass(slots=True)
class Start:
    """What starts of a candidate took; the scenario is its first request."""

    name: str
    candidate: Candidate
    scenario: Scenario | None = None
    cpu: list[float] = field(default_factory=list)
    """Milliseconds until the process was ready, of each start."""
    resident: list[float] = field(default_factory=list)
    """10^6 bytes of memory when it was ready."""
    first: list[float] = field(default_factory=list)
    """Milliseconds of CPU time until it had answered its first request."""
    instructions: float = 0.0
    """Millions until it was ready; 0 if they were not counted."""
    warm: float = 0.0
    """Millions of a later answer; without a counter, CPU milliseconds."""
    compiled: int = 0
    """Modules that it compiled."""

    def measure(self, recorded: Recorded) -> None:
        """Start a process once, and let it answer."""
        with recorded.process(self.candidate, secured=True) as process:
            ready = process.consumed()
            self.cpu.append(ready.cpu * 1e3)
            self.resident.append(process.resident())
            if self.scenario:
                answer_of(process, self.scenario, process.call(self.scenario.event()))
                self.first.append((process.consumed() - ready).cpu * 1e3)

    def count(self, recorded: Recorded, counter: type[InstructionCounter] | None) -> None:
        """Count the instructions of a start and of later answers."""
        counting = counter(initialising=True) if counter else None
        with recorded.process(self.candidate, counting, secured=True) as process:
            self.instructions = process.consumed().instructions / 1e6
            if self.scenario:
                process.call(self.scenario.event())
                later = [process.spent(self.scenario.event()) for _ in range(WARM)]
                self.warm = median(one.instructions / 1e6 if counter else one.cpu * 1e3 for one in later)

    def look(self, recorded: Recorded) -> None:
        """Count the modules that it compiles while it initialises."""
        told = replace(self.candidate, variables={**self.candidate.variables, "PYTHONVERBOSE": "1"})
        with recorded.process(told) as process:
            self.compiled = len(re.findall(r"(?m)^# code object from [^'].*\.py$", process.log()))


def run(to: Path) -> Section:
    """Measure it, and draw the plot into a folder."""
    recorded = record()
    nothing = Start("the runtime client alone", recorded.reference(NOTHING))
    groups = [
        [Start(name, candidate, group.scenario) for name, candidate in group.candidates.items()]
        for group in compared(recorded)
    ]
    others = [Start(f"`{name}`", candidate) for name, candidate in sorted(recorded.built.ours.items())]
    beside = [nothing, *chain(*groups)]
    for number in range(ROUNDS):
        for start in [*beside, *(others if number < OTHERS else ())]:
            start.measure(recorded)
    for start in [*beside, *others]:
        start.look(recorded)
    counter, how = choose()
    with ThreadPoolExecutor(2) as pool:
        # Valgrind is too slow for all of them.
        counted = [*beside, *(others if counter is HardwareCounter else ())]
        [*pool.map(lambda start: start.count(recorded, counter), counted)]
    recorded.see_that_all_were_known()
    orders = groups[0]
    _draw(to / PLOT, orders, counted=counter is not None)
    tables = [_table(title, nothing, group) for title, group in zip(("Orders", "Authorizer"), groups, strict=True)]
    tables.append(_others(nothing, orders[1], others))
    musts = _musts(nothing, groups, others)
    return Section(NAME, "Start", _EXPLANATION.format(how=how), tables, musts, PLOT)


Figure = Callable[[Start], float]


def ratio(of: Figure, ours: Start, other: Start, nothing: Start | None = None) -> float:
    """Return the ratio of two starts, each without what the runtime client takes alone."""
    alone = of(nothing) if nothing else 0.0
    return (of(ours) - alone) / (of(other) - alone)


def _instructions(start: Start) -> float:
    return start.instructions


def _cpu(start: Start) -> float:
    return median(start.cpu)


def _resident(start: Start) -> float:
    return median(start.resident)


def _first(start: Start) -> float:
    return median(start.first)


def _table(title: str, nothing: Start, group: Sequence[Start]) -> Results:
    other = group[1]
    rows = []
    for start in [*group, nothing]:
        own = start is not nothing
        figures = [(_instructions, ",.0f", nothing), (_cpu, ".0f", nothing), (_resident, ".1f", None)]
        row = [start.name]
        for of, form, alone in [*figures, *([(_first, ".1f", None)] if own else [])]:
            counted = of(other) > 0
            row.append(format(of(start), form) if counted else "")
            row.append(f"{ratio(of, start, other, alone):.2f}" if counted and own else "")
        rows.append([*row, *([] if own else ["", ""]), f"{start.compiled}"])
    return Results(title, _COLUMNS, rows)


def _others(nothing: Start, other: Start, starts: Sequence[Start]) -> Results:
    rows = [
        [
            start.name,
            f"{start.instructions:,.0f}" if start.instructions else "",
            f"{_cpu(start):.0f}",
            f"{ratio(_cpu, start, other, nothing):.2f}",
            f"{_resident(start):.1f}",
            f"{ratio(_resident, start, other):.2f}",
            f"{start.compiled}",
        ]
        for start in starts
    ]
    columns = ("<function", "million instructions", "CPU ms", "÷ T0's", "MB", "÷ T0's", "compiled")
    return Results("Every function, beside T0's of orders", columns, rows)


def _musts(nothing: Start, groups: Sequence[Sequence[Start]], others: Sequence[Start]) -> list[Must]:
    (ours, other, *_), (authorizer, its, *_) = groups
    of = _instructions if other.instructions else _cpu
    compiled = sum(start.compiled for start in others)
    return [
        budget("initialisation of orders ÷ T0's", ratio(of, ours, other, nothing), must=0.42, aim=0.18),
        budget("initialisation of the authorizer ÷ T0's", ratio(of, authorizer, its, nothing), must=0.40, aim=0.25),
        budget("first answer of orders ÷ T0's, CPU", ratio(_first, ours, other), must=0.10, aim=0.03),
        budget("resident memory of orders ÷ T0's", ratio(_resident, ours, other), must=0.62, aim=0.44),
        Must("no function compiles a module while it initialises", f"{compiled}", compiled == 0),
    ]


def _draw(path: Path, starts: Sequence[Start], *, counted: bool) -> None:
    unit = "million instructions" if counted else "milliseconds of CPU time"
    of = _instructions if counted else _cpu
    draw_bars(
        path,
        [
            Bars(f"Initialisation, {unit}", {start.name.strip("`"): of(start) for start in starts}),
            Bars(f"List of 10 once warm, {unit}", {start.name.strip("`"): start.warm for start in starts}),
        ],
    )


_COLUMNS = (
    *("<function", "million instructions", "÷ T0's", "CPU ms", "÷ T0's", "MB", "÷ T0's"),
    *("first answer, CPU ms", "÷ T0's", "compiled"),
)
_EXPLANATION = """
Each function as `make build` makes it, under AWS's own runtime client, on the functions' Python: from the start of the
process to the request for its first call. The references, in [benchmarks/references](../benchmarks/references), answer
the same requests with the same calls of DynamoDB, from the same items, and are compiled as ours are:

- *T0*, what a competent team writes: Powertools with its validation, and with Logger, Metrics and Tracer (switched off)
  as its own samples use them, pydantic, and boto3's resources. Its authorizer: the same with PyJWT, without the router.
- *FastAPI* behind Mangum, with pydantic and boto3's resources.
- *Floor*: requests signed by hand over `http.client`, msgspec, and no framework.

All take turns in one run; figures are medians. Ratios of instructions and CPU time leave out what the runtime client
takes by itself. *First answer*: the first request after the start, a list of 10 or a JWT. Instructions are counted
{how}.
DynamoDB is a server on this machine that answers at once what the embedded engine answered before, over TLS. A first
connection reads the authorities that are trusted: the references' all of botocore's, ours and the floor's Amazon's own.
"""
