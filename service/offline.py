"""Commands that need no server, beside ``training.py``: look, measure, generate."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from service.errors import SettingInvalid
from service.outcome import ending

offline = typer.Typer()

DataDir = Annotated[
    Path | None, typer.Option(help="Profiles are kept here. Default: NNF_DATA_DIR or ./nnfactory-data.")
]


@offline.command()
@ending
def look(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Its data set, to try it on the test images. Default: its validation images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Page to write. Default: look.html beside the Card.")
    ] = None,
) -> int:
    """Show a checkpoint on one HTML page: what it is, what it confuses, what smaller models would give."""
    from assembler.look.examine import confusion_of, examine
    from assembler.look.facts import LOOK_FILE
    from assembler.look.page import page_of
    from assembler.propose import Estimator
    from assembler.publish import TEST_IMAGES
    from service.settings import read_settings
    from supernet.card import CARD_FILE
    from supernet.checkpoint import load_checkpoint
    from supernet.data import load_data
    from supernet.writing import write_whole

    if not (checkpoint / CARD_FILE).exists():
        missing = f"no {CARD_FILE} in {checkpoint}" if checkpoint.is_dir() else f"no folder {checkpoint}"
        raise SettingInvalid(f"there is {missing}: name the folder of a checkpoint")
    datasets = read_settings().datasets
    loaded = load_checkpoint(checkpoint, datasets=datasets)
    card, tried, tried_on = loaded.card, loaded.validation, "validation images of the checkpoint"
    if data is not None:
        image = card.architecture.input
        images = load_data(data, side_px=image.height, channels=image.channels, datasets=datasets)
        tried, tried_on = images.test, TEST_IMAGES
        if images.classes != card.classes or tried.images.shape[1:] != loaded.validation.images.shape[1:]:
            raise typer.BadParameter("has other classes or images than the checkpoint", param_hint="--data")
    confusion = confusion_of(loaded.supernet, loaded.calibration, tried)
    seen = examine(loaded, Estimator(checkpoint, card), confusion, tried_on)
    page = checkpoint / LOOK_FILE if out is None else out
    write_whole(page, page_of(seen).encode())
    print(page)
    return 0


@offline.command()
@ending
def measure(data_dir: DataDir = None) -> int:
    """Measure this machine for every supernet at hand, also where that was done before."""
    from assembler.device import Profile, check_writable, save_profile
    from assembler.measure import measure_device
    from service.settings import read_settings
    from service.zoo import find_members, shipped_zoo, usable

    settings = read_settings(data_dir=data_dir)
    check_writable(settings.data_dir)
    for member in usable(find_members((shipped_zoo(), *settings.supernets), settings.datasets)):
        for step in measure_device(member.card):
            if isinstance(step, Profile):
                path = save_profile(step, settings.data_dir)
                print(
                    f"\r{member.card.name}: {step.quality.duration_s:.1f} s, "
                    f"mean error {step.quality.latency_mape:.1%}, kept in {path}"
                )
            else:
                print(
                    f"\r{member.card.name}: {step.done:.0f}/{step.total:.0f}",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
    return 0


@offline.command()
@ending
def generate(
    scenario: Annotated[str, typer.Argument(help="JSON file with a scenario; - reads standard input.")],
    out: Annotated[Path, typer.Option(help="Model file to write; the manifest goes beside it.")] = Path(
        "model.onnx"
    ),
    bundle: Annotated[
        Path | None, typer.Option(help="Zip to write: the model with a program that runs it, and its card.")
    ] = None,
    data_dir: DataDir = None,
) -> int:
    """Make one model without a server."""
    from rich.console import Console

    from assembler.artifact import Assembly
    from assembler.errors import Infeasible
    from assembler.phase import Phase
    from assembler.scenario import parse_scenario
    from service.builder import load_builder
    from service.report import print_diagnosis, print_limits, print_phases, print_scenario
    from service.settings import read_settings
    from supernet.writing import write_whole

    console = Console()
    raw = sys.stdin.buffer.read() if scenario == "-" else _read(Path(scenario))
    if not out.name or out.is_dir() or out.resolve() == Path(scenario).resolve():
        raise typer.BadParameter("must name a file, and not the scenario", param_hint="--out")
    if bundle is not None and (
        bundle.is_dir() or bundle.resolve() in (out.resolve(), Path(scenario).resolve())
    ):
        raise typer.BadParameter("must name a file of its own", param_hint="--bundle")
    asked = parse_scenario(raw)
    builder = load_builder(read_settings(data_dir=data_dir))
    print_scenario(console, asked.model_dump(mode="json", exclude_none=True))
    phases: list[tuple[str, float]] = []
    assembly: Assembly | None = None
    try:
        for step in builder.build(asked):
            if isinstance(step, Phase):
                phases.append((step.name, time.monotonic()))
            elif isinstance(step, Assembly):
                assembly = step
    except Infeasible as error:
        print_diagnosis(console, error.diagnosis.model_dump(mode="json"))
        return 1
    assert assembly is not None
    ends = [begun for _, begun in phases[1:]] + [time.monotonic()]
    print_phases(
        console, [(name, 1000 * (end - begun)) for (name, begun), end in zip(phases, ends, strict=True)]
    )
    print_limits(
        console,
        [check.model_dump(mode="json") for check in assembly.limits_check],
        assembly.predicted.model_dump(),
        None if assembly.measured is None else assembly.measured.model_dump(),
    )
    if not assembly.limits_met:
        print("not all limits are met: this is the nearest, as on_infeasible asks for")
    write_whole(out, assembly.content)
    manifest = out.with_name(f"{out.name}.manifest.json")
    write_whole(manifest, (json.dumps(assembly.manifest, indent=2) + "\n").encode())
    print(f"{out} and {manifest}")
    if bundle is not None and assembly.bundle is not None:
        write_whole(bundle, assembly.bundle.content)
        print(bundle)
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingInvalid(f"cannot read {path}: {error.strerror}") from error
