"""What a scenario became, as tables on a terminal. All values are the JSON of the HTTP contract."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table


def print_scenario(console: Console, scenario: dict[str, Any]) -> None:
    """Print what is asked for."""
    console.print("[bold]Scenario[/bold]")
    console.print_json(data=scenario)


def print_phases(console: Console, phases: Iterable[tuple[str, float]]) -> None:
    """Print every phase with its time in ms."""
    table = Table("Phase", "ms", title="Phases", title_justify="left")
    table.columns[1].justify = "right"
    total = 0.0
    for name, duration_ms in phases:
        table.add_row(name, f"{duration_ms:.1f}")
        total += duration_ms
    table.add_section()
    table.add_row("together", f"{total:.1f}")
    console.print(table)


def print_limits(
    console: Console,
    checks: list[dict[str, Any]],
    predicted: dict[str, Any],
    measured: dict[str, Any] | None,
) -> None:
    """Print requested, predicted and measured figures side by side; ``measured`` is None for an unverified model."""
    requested = {check["limit"].removesuffix("_min"): check for check in checks}
    table = Table("Figure", "Requested", "Predicted", "Measured", "Met", title="Limits", title_justify="left")
    for name in ("latency_ms", "memory_mb", "size_mb", "accuracy"):
        check = requested.get(name)
        bound = (
            ""
            if check is None
            else f"{'at least' if name == 'accuracy' else 'at most'} {check['requested']:g}"
        )
        met = "" if check is None else ("yes" if check["met"] else "NO")
        found = None if measured is None else measured[name]
        table.add_row(name, bound, f"{predicted[name]:.4g}", "" if found is None else f"{found:.4g}", met)
    console.print(table)
    if measured is None:
        console.print("Not verified: latency, memory and accuracy are foretold.")
        return
    percentile, samples = measured["latency_percentile"], measured["samples"]
    if measured["latency_ms"] is None:
        console.print(
            f"Latency and memory are foretold by the device's profile; accuracy is on {samples} validation images."
        )
        return
    console.print(
        f"Latency is the {percentile}th percentile of one image; accuracy is on {samples} validation images."
    )


def print_diagnosis(console: Console, diagnosis: dict[str, Any]) -> None:
    """Print why a scenario cannot be met and what comes nearest."""
    console.print(f"[bold]Cannot be met[/bold]; what binds: {', '.join(diagnosis['binding'])}")
    if (best := diagnosis.get("best_possible")) is not None:
        console.print(f"  best possible: {_figures(best)}")
    for nearest in diagnosis["nearest"]:
        changes = ", ".join(f"{pointer} = {value}" for pointer, value in nearest["change"].items())
        console.print(f"  with {changes}: {_figures(nearest['predicted'])}")
    if (error := diagnosis.get("accuracy_error")) is not None:
        console.print(f"  accuracies are off by {error:.2g} on average")


def _figures(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
