"""The numbers that the detection benchmark measures, and how they are told: tables in Markdown, and a figure."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from astropy.table import Table

from raysearch.testing import NOISES


class Rows:
    """All numbers measured, in one long table."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []
        self.places: dict[tuple[str, float], list[str]] = {}
        """Where the false alarms of a kind of noise at an asked rate come from."""

    def add(self, experiment, noise, detector, quantity, value, low=math.nan, high=math.nan, trials=0, **where) -> None:
        row = {"experiment": experiment, "noise": noise, "detector": detector, "shape": "", "width": math.nan, "velocity": math.nan}
        row |= {"place": "", "at": math.nan} | where
        row |= {"quantity": quantity, "value": float(value), "low": float(low), "high": float(high), "trials": int(trials)}
        self.rows.append(row)

    def select(self, **where) -> list[dict[str, object]]:
        return [row for row in self.rows if all(row[key] == value for key, value in where.items())]

    def table(self) -> Table:
        return Table(rows=self.rows, names=list(self.rows[0]))


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown, its columns aligned."""
    widths = [max(len(row[k]) for row in [heads, *rows]) for k in range(len(heads))]
    lines = [" | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in [heads, *rows]]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def interval(row) -> str:
    return f"{row['value']:.2g}" + (f" ({row['low']:.2g}-{row['high']:.2g})" if math.isfinite(row["low"]) else "")


def false_alarm_table(rows: Rows, experiment: str) -> str:
    rates = rows.select(experiment=experiment, quantity="candidates per window")
    levels = list(dict.fromkeys(row["at"] for row in rates))
    lines = []
    for name in dict.fromkeys(row["noise"] for row in rates):
        measured = [row for row in rates if row["noise"] == name]
        places = [f"{row['value']:.0f}" for row in rows.select(experiment=experiment, noise=name, quantity="places", at=levels[0])]
        published = [interval(row) for row in rows.select(experiment=experiment, noise=name, detector="published")]
        lines.append([name, str(measured[0]["trials"]), *map(interval, measured), *(places or [""]), *(published or [""])])
    return markdown(["noise", "windows", *(f"asked {level:g}" for level in levels), "places", "`published`"], lines)


def half_table(rows: Rows) -> str:
    lines = []
    for row in rows.select(experiment="half", detector="lines"):
        where = {key: row[key] for key in ("noise", "shape", "width", "velocity", "place")}
        published = rows.select(experiment="half", detector="published", **where)[0]
        best = max(r["value"] for r in rows.select(experiment="completeness", detector="published", **where))
        ratio = published["value"] / row["value"]
        if math.isinf(published["value"]):
            brightest = max(r["at"] for r in rows.select(experiment="completeness", detector="published", **where))
            ratio = brightest / row["value"]
        lines.append(
            [
                row["noise"],
                row["shape"],
                f"{row['width']:g}",
                f"{row['velocity']:g}",
                row["place"],
                f"{row['value']:.2g}",
                f"{published['value']:.2g}" if math.isfinite(published["value"]) else f"never (at most {best:.0%})",
                f"{'> ' * math.isinf(published['value'])}{ratio:.0f}",
            ]
        )
    heads = ["noise", "shape", "width", "km/s", "from star", "`lines` W m^-2", "`published` W m^-2", "ratio"]
    return markdown(heads, lines)


def measurement_table(rows: Rows) -> str:
    lines = []
    chosen = rows.select(experiment="measurements", quantity="flux bias")
    quantities = list(dict.fromkeys(row["quantity"] for row in rows.select(experiment="measurements")))
    for first in chosen:
        where = {key: first[key] for key in ("experiment", "noise", "shape", "at", "high")}
        values = [rows.select(quantity=quantity, **where)[0]["value"] for quantity in quantities]
        span = f"{first['at']:g}-{first['high']:g}" if first["high"] < 1e6 else f"> {first['at']:g}"
        lines.append([first["noise"], first["shape"], span, str(first["trials"]), *(f"{value:+.2f}" for value in values)])
    return markdown(["noise", "shape", "S/N", "lines", *quantities], lines)


def other_table(rows: Rows) -> str:
    lines = [
        [row["experiment"], row["noise"], row["detector"], row["quantity"], interval(row), str(row["trials"])]
        for row in rows.rows
        if row["experiment"] in ("limits", "time")
    ]
    return markdown(["", "noise", "detector", "what", "value", "trials"], lines)


def report(rows: Rows) -> str:
    """Return all tables as Markdown."""
    parts = [("False candidates per window, asked and measured (95 % intervals)", false_alarm_table(rows, "false alarms"))]
    if rows.select(experiment="untouched"):
        parts.append(("The same in the real cubes as they are", false_alarm_table(rows, "untouched")))
    parts += [
        ("Flux at which half of the lines are found", half_table(rows)),
        ("What candidates say", measurement_table(rows)),
        ("Upper limits (asked: 0.95 found) and time", other_table(rows)),
    ]
    return "\n\n".join(f"**{title}**\n\n{table}" for title, table in parts)


COLOURS = {"point": "#0072B2", "jet": "#D55E00", "field": "#009E73"}
"""Okabe and Ito's, told apart by everyone."""


def figure(rows: Rows, path: Path) -> None:
    """Write the figure: completeness, false alarms, pulls."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["noise"] for row in rows.select(experiment="half")))[:8]
    canvas = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(canvas)
    grid = canvas.add_gridspec(3, 4)
    for k, name in enumerate(names):
        draw_completeness(canvas.add_subplot(grid[k // 4, k % 4]), rows, name, legend=k == 0)
    draw_false_alarms(canvas.add_subplot(grid[2, :2]), rows)
    draw_pulls(canvas.add_subplot(grid[2, 2:]), rows)
    canvas.savefig(path, dpi=80)


def draw_completeness(axes, rows: Rows, noise: str, *, legend: bool) -> None:
    for shape, colour in COLOURS.items():
        for detector, style in (("lines", "-o"), ("published", "--s")):
            curve = rows.select(
                experiment="completeness", noise=noise, shape=shape, detector=detector, width=1.0, velocity=0.0, place="far"
            )
            if curve:
                value, low, high = (np.array([row[key] for row in curve]) for key in ("value", "low", "high"))
                axes.errorbar(
                    [row["at"] for row in curve],
                    value,
                    np.maximum([value - low, high - value], 0),
                    fmt=style,
                    ms=3,
                    lw=1,
                    elinewidth=0.5,
                    color=colour,
                    mfc="none" if detector == "published" else colour,
                    label=f"{shape}, {detector}",
                )
    axes.set(xscale="log", ylim=(-0.05, 1.05), title=noise, xlabel="flux (W m$^{-2}$)", ylabel="found")
    if legend:
        axes.legend(fontsize=6, loc="center right")


def draw_false_alarms(axes, rows: Rows) -> None:
    rates = rows.select(experiment="false alarms", quantity="candidates per window")
    names = list(dict.fromkeys(row["noise"] for row in rates))
    told: set[bool] = set()
    for k, name in enumerate(names):
        some = [row for row in rates if row["noise"] == name]
        asked = np.array([row["at"] for row in some]) * 1.04 ** (k - len(names) / 2)
        value, low, high = (np.array([row[key] for row in some]) for key in ("value", "low", "high"))
        real = name not in NOISES
        label = None if real in told else "real noise" if real else "synthetic noise"
        told.add(real)
        axes.errorbar(
            asked,
            np.maximum(value, 1e-5),
            np.maximum([value - low, high - value], 0),
            fmt="o" if real else "x",
            ms=4,
            lw=1,
            color="#D55E00" if real else "#0072B2",
            label=label,
        )
    line = np.array([3e-4, 0.3])
    axes.plot(line, line, color="black", lw=1)
    axes.fill_between(line, line / 2, line * 2, color="0.85", zorder=0, label="within a factor 2")
    axes.set(xscale="log", yscale="log", ylim=(1e-4, 1), xlabel="false candidates per window, asked", ylabel="measured")
    axes.legend(fontsize=7)


def draw_pulls(axes, rows: Rows) -> None:
    some = [row for row in rows.select(experiment="measurements", at=8) if row["high"] > 1e6]
    labels = list(dict.fromkeys(f"{row['noise']}\n{row['shape']}" for row in some))
    marks = {"flux pull width": ("o", "#0072B2"), "velocity pull width": ("s", "#D55E00"), "flux bias": ("^", "#009E73")}
    for quantity, (mark, colour) in marks.items():
        chosen = {f"{row['noise']}\n{row['shape']}": row["value"] for row in some if row["quantity"] == quantity}
        axes.plot([labels.index(key) for key in chosen], list(chosen.values()), mark, color=colour, ms=4, label=quantity)
    axes.axhspan(0.8, 1.2, color="0.85", zorder=0)
    axes.axhspan(-0.05, 0.05, color="0.85", zorder=0)
    axes.set_xticks(range(len(labels)), labels, fontsize=5, rotation=90)
    axes.set(ylim=(-0.6, 2.5), title="above 8 sigma; asked: the grey bands")
    axes.legend(fontsize=7)
