"""Commands that need no server: train, look, measure, generate."""

import json
import shlex
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import SettingInvalid
from service.outcome import ending

if TYPE_CHECKING:
    from assembler.train import Progress, Trained

offline = typer.Typer()
EXIT_STOPPED = 130
# How often a run says where it is when there is no terminal to show a bar on.
SAY_EVERY_S = 30.0
# Sides of the images of folders, and learning rates, for the small design and for supernets grown from photographs'.
SMALL_SIDE_PX, PHOTO_SIDE_PX = 32, 128
SCRATCH_RATE, BACKBONE_RATE = 0.1, 0.02

DataDir = Annotated[
    Path | None, typer.Option(help="Profiles are kept here. Default: NNF_DATA_DIR or ./nnfactory-data.")
]


@offline.command()
@ending
def train(
    data: Annotated[
        Path,
        typer.Option(
            help="Numpy archive, name of contact sheets, or folder or zip of images: "
            "a folder a class, perhaps inside train/, val/ and test/."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write; its name is the supernet's.")],
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the training images.")] = 60.0,
    batch: Annotated[int, typer.Option(min=8, help="Images of a step, over all processes.")] = 192,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    processes: Annotated[int, typer.Option(min=1, help="On CPU; each uses one thread.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    flip: Annotated[bool, typer.Option(help="Mirrored images keep their label.")] = False,
    shift_px: Annotated[int, typer.Option(min=0)] = 2,
    erase: Annotated[float, typer.Option(min=0, max=1, help="Share of images with an erased square.")] = 0.25,
    zoom: Annotated[
        float, typer.Option(min=0, max=0.95, help="Crops show at least 1 - zoom of the image's area.")
    ] = 0.0,
    color: Annotated[
        float, typer.Option(min=0, max=0.9, help="Brightness, contrast and saturation change by this share.")
    ] = 0.0,
    backbone: Annotated[
        str | None,
        typer.Option("--from", help="Published network to start from: efficientnet-lite0 (for photographs)."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-5, max=1, help="Default: 0.1, from a published network 0.02.")
    ] = None,
    side_px: Annotated[
        int | None,
        typer.Option(
            min=16, max=224, help="For folders and zips. Default: 32, from a published network 128."
        ),
    ] = None,
    sides: Annotated[
        list[int] | None,
        typer.Option(
            help="A smaller side, px, that a model may shrink its image to; may be given several times."
        ),
    ] = None,
    channels: Annotated[int, typer.Option(help="For folders and zips of images: 1 gray, 3 RGB.")] = 3,
    licence: Annotated[str, typer.Option(help="Of the images, for the Card.")] = "unknown",
    credit: Annotated[str, typer.Option(help="Of the images, for the Card.")] = "",
    store_images: Annotated[
        bool,
        typer.Option(help="Keep images with the weights; else they are named and taken from NNF_DATASETS."),
    ] = True,
    pairs: Annotated[int, typer.Option(min=20, help="Models cut out to fit the accuracy predictor.")] = 1500,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="A piece of the method to leave out, to measure its worth; may be given several times."
        ),
    ] = None,
    work: Annotated[Path | None, typer.Option(help="State of the run. Default: runs/NAME.")] = None,
) -> int:
    """Train a supernet and its assembler; a run that was stopped is continued."""
    import torch

    from assembler.look.facts import LOOK_FILE
    from assembler.publish import Publication, named_per_class, publish, stored_per_class
    from assembler.train import STATE_FILE, Setup
    from assembler.train import train as run_training
    from supernet.augment import Augmentation
    from supernet.backbones import BACKBONES
    from supernet.card import DataSource
    from supernet.checkpoint import check_place
    from supernet.data import load_data
    from supernet.design import small_design
    from supernet.train import Recipe

    if channels not in (1, 3):
        raise typer.BadParameter("must be 1 or 3", param_hint="--channels")
    check_place(out)
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise typer.BadParameter("must be auto, cpu, or, where there is a GPU, cuda", param_hint="--device")
    if backbone is not None and backbone not in BACKBONES:
        raise typer.BadParameter(f"must be one of: {', '.join(BACKBONES)}", param_hint="--from")
    if side_px is None:
        side_px = SMALL_SIDE_PX if backbone is None else PHOTO_SIDE_PX
    images = load_data(data, side_px=side_px, channels=channels)
    if images.report:
        print(images.report, flush=True)
        if not store_images:
            raise typer.BadParameter(
                "images of a folder or zip cannot be named by their place", param_hint="--no-store-images"
            )
    _, found_channels, height, width = images.train.images.shape
    if height != width or (backbone is None and (height % 4 or not 16 <= height <= 64)):
        raise typer.BadParameter(
            f"images are {height} x {width}; squares of 16 to 64 px, a multiple of 4, are needed",
            param_hint="--data",
        )
    if backbone is not None and found_channels != 3:
        raise typer.BadParameter("published networks see RGB images", param_hint="--from")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        smaller = tuple(sides or ())
        design = (
            small_design(channels=found_channels, side_px=height, sides=smaller)
            if backbone is None
            else BACKBONES[backbone].design(side_px=height, sides=smaller)
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--sides") from error
    rate = learning_rate or (SCRATCH_RATE if backbone is None else BACKBONE_RATE)
    try:
        setup = Setup(
            architecture=design,
            data=images,
            work=work or Path("runs") / out.name,
            recipe=Recipe(
                epochs=epochs,
                batch=batch,
                learning_rate=rate,
                bfloat16=chosen == "cuda",
                seed=seed,
                augmentation=Augmentation(shift_px, flip, erase, zoom, color),
            ),
            processes=1 if chosen == "cuda" else processes,
            device=chosen,
            pairs=pairs,
            without=frozenset(without or ()),
            backbone=backbone,
            per_class=stored_per_class(images) if store_images else named_per_class(len(images.classes)),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--without") from error
    if (setup.work / STATE_FILE).exists():
        print(f"continuing the run in {setup.work}; remove that folder to start anew")
    trained = _with_progress(run_training(setup))
    if trained is None:
        print(f"stopped; the same command goes on (its state is in {setup.work})")
        return EXIT_STOPPED
    publication = Publication(
        name=out.name,
        source=DataSource(name=images.name, licence=licence, credit=credit),
        command=shlex.join(["nnfactory", *sys.argv[1:]]),
        named_in=None if store_images else data,
    )
    card = publish(setup, trained, publication, out)
    print(f"{out}: {len(card.classes)} classes, dense net {card.figures.dense_accuracy:.1%} on test images")
    print(f"look at it: {out / LOOK_FILE}")
    return 0


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
    from supernet.checkpoint import load_checkpoint
    from supernet.data import load_data

    loaded = load_checkpoint(checkpoint, datasets=read_settings().datasets)
    card, tried, tried_on = loaded.card, loaded.validation, "validation images of the checkpoint"
    if data is not None:
        image = card.architecture.input
        images = load_data(data, side_px=image.height, channels=image.channels)
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
    data_dir: DataDir = None,
) -> int:
    """Make one model without a server."""
    from rich.console import Console

    from assembler.artifact import Assembly
    from assembler.assemble import Phase
    from assembler.errors import Infeasible
    from assembler.scenario import parse_scenario
    from service.builder import load_builder
    from service.report import print_diagnosis, print_limits, print_phases, print_scenario
    from service.settings import read_settings

    console = Console()
    raw = sys.stdin.buffer.read() if scenario == "-" else _read(Path(scenario))
    if not out.name or out.is_dir() or out.resolve() == Path(scenario).resolve():
        raise typer.BadParameter("must name a file, and not the scenario", param_hint="--out")
    asked = parse_scenario(raw)
    builder = load_builder(read_settings(data_dir=data_dir))
    print_scenario(console, asked.model_dump(mode="json", exclude_none=True))
    phases: list[tuple[str, float]] = []
    assembly: Assembly | None = None
    try:
        for step in builder.build(asked):
            if isinstance(step, Phase):
                phases.append((step.name, time.monotonic()))
            else:
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
    return 0


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SettingInvalid(f"cannot write {path}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingInvalid(f"cannot read {path}: {error.strerror}") from error


def _with_progress(steps: "Generator[Progress | Trained, None, None]") -> "Trained | None":
    """Show a bar with the phase, the loss and the time left; return what the training made, None when stopped.

    Ctrl-C and SIGTERM stop it after the step that is being made.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from assembler.train import Trained

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
    )
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: stopped.append(caught))
    with Bar(*columns) as bar:
        said = time.monotonic()
        line = bar.add_task("training", total=None, loss=0.0)
        for step in steps:
            if isinstance(step, Trained):
                return step
            bar.update(line, description=step.phase, completed=step.step, total=step.total, loss=step.loss)
            if not bar.console.is_terminal and time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                print(f"{step.phase}: step {step.step} of {step.total}, loss {step.loss:.3f}", flush=True)
            if stopped:
                steps.close()
                return None
    raise RuntimeError("training ended without a result")
