"""What a warm process takes for a request, ours beside the references."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from benchmarks.artefacts.meters import InstructionCounter, choose
from benchmarks.artefacts.processes import CallFailed, Candidate, Process
from benchmarks.artefacts.scenarios import NOTHING, Recorded, Scenario, answer_of, compared, record
from benchmarks.report import Must, Results, Section, budget

NAME = "warm"
ROUNDS = 9
WARM_UP = 3
COUNTED = 3
"""Requests whose instructions are counted."""


@dataclass(slots=True)
class Served:
    """What one request took of one candidate: the median of many."""

    cpu: list[float] = field(default_factory=list)
    """Milliseconds."""
    instructions: float = 0.0
    """Millions; 0 if they were not counted."""

    @property
    def milliseconds(self) -> float:
        """CPU time."""
        return median(self.cpu)

    def __sub__(self, alone: Served) -> Served:
        return Served([self.milliseconds - alone.milliseconds], self.instructions - alone.instructions)


Measured = dict[str, dict[str, Served]]
"""By scenario and candidate."""


def run() -> Section:
    """Measure it."""
    recorded = record()
    counter, how = choose()
    measured: Measured = {}
    for group in compared(recorded):
        scenarios = [one for one in recorded.scenarios.values() if one.function == group.scenario.function]
        candidates = {**group.candidates, NOTHING: recorded.reference(NOTHING)}
        measured |= {one.name: {name: Served() for name in candidates} for one in scenarios}
        _take_turns(recorded, candidates, scenarios, measured)
        if counter:
            with ThreadPoolExecutor(2) as pool:
                waiting = [
                    pool.submit(_count, recorded, name, candidate, scenarios, counter, measured)
                    for name, candidate in candidates.items()
                ]
                for each in waiting:
                    each.result()
    recorded.see_that_all_were_known()
    alone = {scenario: served.pop(NOTHING) for scenario, served in measured.items()}
    note = _NOTE.format(alone=alone["list of 10"])
    for scenario, served in measured.items():
        measured[scenario] = {name: one - alone[scenario] for name, one in served.items()}
    tables = [_table(measured, note)]
    return Section(NAME, "Warm requests", _EXPLANATION.format(how=how), tables, _musts(measured))


def _take_turns(
    recorded: Recorded, candidates: Mapping[str, Candidate], scenarios: list[Scenario], measured: Measured
) -> None:
    with ExitStack() as stack:
        processes = {name: stack.enter_context(recorded.process(one)) for name, one in candidates.items()}
        for scenario in scenarios:
            _agree(recorded, [one for name, one in processes.items() if name != NOTHING], scenario)
        for _ in range(ROUNDS):
            for scenario in scenarios:
                for name, process in processes.items():
                    spent = [process.spent(scenario.event()).cpu * 1e3 for _ in range(scenario.at_once)]
                    measured[scenario.name][name].cpu += spent


def _agree(recorded: Recorded, processes: list[Process], scenario: Scenario) -> None:
    """Serve some requests, and see that all candidates answer the same and call DynamoDB alike.

    Raises:
        CallFailed: One does not, so that the comparison would not be fair.
    """
    found = []
    for process in processes:
        for _ in range(WARM_UP):
            process.call(scenario.event())
        recorded.tables.take()
        answer = answer_of(process, scenario, process.call(scenario.event()))
        found.append((answer, recorded.tables.take()))
    for process, one in zip(processes, found, strict=True):
        if one != found[0]:
            raise CallFailed(f"{scenario.name}: {process.name} answers {one}, and {processes[0].name} {found[0]}")


def _count(  # noqa: PLR0913, PLR0917 - what a count is of
    recorded: Recorded,
    name: str,
    candidate: Candidate,
    scenarios: list[Scenario],
    counter: type[InstructionCounter],
    measured: Measured,
) -> None:
    with recorded.process(candidate, counter(initialising=False)) as process:
        for scenario in scenarios:
            process.call(scenario.event())
        process.begin()
        for scenario in scenarios:
            process.call(scenario.event())
            spent = [process.spent(scenario.event()).instructions / 1e6 for _ in range(COUNTED)]
            measured[scenario.name][name].instructions = median(spent)


def _table(measured: Measured, note: str) -> Results:
    rows = []
    for scenario, served in measured.items():
        ours, other = [*served.values()][:2]
        floor = served["floor"]
        for name, one in served.items():
            row = [scenario if one is ours else "", name]
            for figure, form in ((_instructions, ".2f"), (_cpu, ".2f")):
                row.append(format(figure(one), form) if figure(one) else "")
                row += [f"{figure(one) / figure(base):.2f}" if figure(base) else "" for base in (other, floor)]
            rows.append(row)
    return Results("One request", _COLUMNS, rows, note)


def _instructions(served: Served) -> float:
    return served.instructions


def _cpu(served: Served) -> float:
    return served.milliseconds


def _musts(measured: Measured) -> list[Must]:
    musts = []
    for scenario, must, aim in _BUDGETS:
        ours, other = [*measured[scenario].values()][:2]
        of = _instructions if other.instructions else _cpu
        musts.append(budget(f"{scenario} ÷ T0's", of(ours) / of(other), must=must, aim=aim))
    for scenario, must, aim in _OVER_FLOOR:
        ours, floor = next(iter(measured[scenario].values())), measured[scenario]["floor"]
        of = _instructions if floor.instructions else _cpu
        musts.append(budget(f"{scenario} ÷ the floor's", of(ours) / of(floor), must=must, aim=aim))
    return musts


_BUDGETS = (
    ("list of 10", 0.20, 0.12),
    ("create, 1 item", 0.15, 0.09),
    ("list of 500", 0.50, 0.10),
    ("authorize a JWT", 0.28, 0.19),
)
"""What a request must not exceed, as a ratio to T0's, and what it is meant to become."""
_OVER_FLOOR = (("list of 10", 2.5, 1.6), ("create, 1 item", 4.0, 2.6))
"""The same, to the floor's."""

_COLUMNS = (
    *("<request", "<candidate", "million instructions", "÷ T0's", "÷ floor's"),
    *("CPU ms", "÷ T0's", "÷ floor's"),
)
_NOTE = (
    "Without what the runtime client takes for a call by itself: {alone.instructions:.2f} million instructions and "
    "{alone.milliseconds:.2f} ms of CPU time."
)
_EXPLANATION = """
One request of a warm process. Candidates and DynamoDB are those of [Start](#start), without TLS. All candidates answer
the same, with as many calls of DynamoDB, and the run fails if one does not. They take turns in one run; figures are
medians over the requests. *A reference token* is on `/v2`, where the authorizer also counts requests. Instructions are
counted {how}.
"""
