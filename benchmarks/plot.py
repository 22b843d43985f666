"""The plots: what pages cost, what one book takes, and what a start costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.shop import Cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks.creates import Pace

_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0b6e4f", "marker": "o", "linewidth": 2.4},
    {"color": "#c8553d", "marker": "s", "linewidth": 1.6},
    {"color": "#6b7280", "linestyle": "--", "linewidth": 1.6},
    {"color": "#d4a017", "marker": "^", "linewidth": 1.6},
)


_LARGE = 100
"""From here on, values have no decimals."""

_MANY = 1_000_000
"""From here on, numbers below a plot are written as 10M."""

_FEW = 5
"""Below it, values are drawn in a linear scale."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What one way costs or reaches, by the number of the page, the size of the book or the number of writers."""

    label: str
    costs: Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class Bars:
    """A panel of bars, ours first."""

    title: str
    values: Mapping[str, float]


def draw_bars(path: Path, panels: Sequence[Bars]) -> None:
    """Draw panels of bars side by side."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - as in `draw`

    figure = Figure(figsize=(9, 2.4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        names, values = list(panel.values), list(panel.values.values())
        drawn = axes.barh(names, values, color=[_STYLES[0]["color"], *["#b8bec8"] * (len(names) - 1)], height=0.62)
        axes.bar_label(drawn, fmt="{:,.0f}" if max(values) > _LARGE else "{:.1f}", padding=4, fontsize=9)
        axes.set_title(panel.title, fontsize=10.5, loc="left")
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    _save(figure, path)


def draw(path: Path, curves: Sequence[Curve]) -> None:
    """Draw read units and time by page, side by side."""
    panels: dict[str, Callable[[Cost], float]] = {
        "Read units per request": lambda cost: cost.units,
        "Milliseconds per request, at 2 ms a read": lambda cost: cost.seconds * 1000,
    }
    _draw(path, curves, panels, "page (10 of 100,000 orders)")


def draw_by_size(path: Path, curves: Sequence[Curve]) -> None:
    """Draw read units and round trips by the size of the book, side by side."""
    panels: dict[str, Callable[[Cost], float]] = {
        "Read units per request": lambda cost: cost.units,
        "Round trips per request": lambda cost: cost.calls,
    }
    _draw(path, curves, panels, "positions of the book")


def draw_by_writers(path: Path, curves: Sequence[Curve]) -> None:
    """Draw the rate of creates and their 99th percentile by the number of writers, side by side."""
    panels: dict[str, Callable[[Pace], float]] = {
        "Creates a second": lambda pace: pace.rate,
        "Milliseconds of a create, 99th percentile": lambda pace: pace.tail * 1000,
    }
    _draw(path, curves, panels, "writers at once")


def _draw(path: Path, curves: Sequence[Curve], panels: Mapping[str, Callable[[Any], float]], horizontal: str) -> None:
    # Imported here so that the other benchmarks do not wait for it.
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import EngFormatter  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.7), layout="constrained")
    both = figure.subplots(1, 2, sharex=True)
    for axes, (title, of) in zip(both, panels.items(), strict=True):
        _panel(axes, title, curves, of)
        axes.set_xlabel(horizontal)
        if max(map(max, (curve.costs for curve in curves))) > _MANY:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if max(of(cost) for curve in curves for cost in curve.costs.values()) < _FEW:
            axes.set_yscale("linear")
            axes.set_ylim(0, _FEW)
            axes.set_yticks(range(_FEW + 1))
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2 if len(curves) % 2 == 0 else len(curves), frameon=False
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nothing of the machine or the day in the file: the same numbers draw the same picture.
    figure.savefig(path, dpi=160, metadata={"Software": None})


def _panel(axes: Axes, title: str, curves: Sequence[Curve], of: Callable[[Any], float]) -> None:
    for curve, style in zip(curves, _STYLES, strict=False):
        axes.plot(
            list(curve.costs), [of(cost) for cost in curve.costs.values()], label=curve.label, markersize=4, **style
        )
    axes.set_title(title, fontsize=10.5, loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.grid(visible=True, which="major", color="#e5e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
