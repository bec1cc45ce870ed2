"""The commands that train a supernet, and its accuracy predictor alone."""

import shlex
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from service.outcome import ending

if TYPE_CHECKING:
    from assembler.train import Progress
    from supernet.card import Card

training = typer.Typer()
EXIT_STOPPED = 130
# How often a run says where it is when there is no terminal to show a bar on.
SAY_EVERY_S = 30.0
MOST_PAIRS = 1500

T = TypeVar("T")


@training.command()
@ending
def train(
    data: Annotated[
        Path,
        typer.Option(
            help="Numpy archive, name of contact sheets, folder or zip of images: "
            "a folder a class, perhaps inside train/, val/ and test/; or torchvision:NAME, a published data set "
            "that is looked for in NNF_DATASETS (else ./datasets) and fetched where it is not there."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write; its name is the supernet's.")],
    minutes: Annotated[
        float | None,
        typer.Option(
            min=1, help="Time allowed on this machine; image side, batch, epochs and pairs are picked for it."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.01, help="Passes over the training images. Default: 60.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=8, help="Images of a step, over all processes. Default: 192, with --from 64."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    processes: Annotated[int, typer.Option(min=1, help="On CPU; each uses one thread.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    flip: Annotated[
        bool | None, typer.Option(help="Mirrored images keep their label. Default: no, with --from yes.")
    ] = None,
    shift_px: Annotated[
        int | None, typer.Option(min=0, help="Images are moved by up to so much. Default: 2, with --from 0.")
    ] = None,
    erase: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of images with an erased square. Default: 0.25, with --from 0."
        ),
    ] = None,
    zoom: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.95, help="Crops show at least 1 - zoom of the area. Default: 0, with --from 0.5."
        ),
    ] = None,
    color: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.9,
            help="Brightness, contrast and saturation change by this share. Default: 0, with --from 0.2.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--from", help="Published network to start from: efficientnet-lite0 (for photographs)."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-5, max=1, help="Default: 0.1, with --from 0.04.")
    ] = None,
    side_px: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=224,
            help="For folders, zips and torchvision:NAME. Default: 32, with --from 128, or less where --minutes are "
            "few; without --from a published data set of equal squares of 16 to 64 px keeps their side.",
        ),
    ] = None,
    sides: Annotated[
        list[int] | None,
        typer.Option(
            help="A smaller side, px, that a model may shrink its image to; may be given several times. Default: none, "
            "with --from 128, 96 and 64 where they are smaller."
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            help="1 gray, 3 RGB; for folders, zips and torchvision:NAME. Default: 3, or what a published set has."
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the images, for the Card.")] = "unknown",
    credit: Annotated[str, typer.Option(help="Of the images, for the Card.")] = "",
    store_images: Annotated[
        bool,
        typer.Option(help="Keep images with the weights; else they are named and taken from NNF_DATASETS."),
    ] = True,
    pairs: Annotated[
        int | None, typer.Option(min=20, help="Models cut out to fit the accuracy predictor. Default: 1500.")
    ] = None,
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

    from assembler.errors import OrderInvalid
    from assembler.look.facts import LOOK_FILE
    from assembler.order import Order, setup_of
    from assembler.publish import Publication, publish
    from assembler.train import STATE_FILE
    from assembler.train import train as run_training
    from service.settings import read_settings
    from supernet.card import DataSource
    from supernet.checkpoint import check_place

    check_place(out)
    gpu = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not gpu):
        raise typer.BadParameter("must be auto, cpu, or, where there is a GPU, cuda", param_hint="--device")
    chosen = ("cuda" if gpu else "cpu") if device == "auto" else device
    try:
        setup = setup_of(
            Order(
                data=data,
                work=work or Path("runs") / out.name,
                device=chosen,
                backbone=backbone,
                minutes=minutes,
                epochs=epochs,
                batch=batch,
                pairs=pairs,
                learning_rate=learning_rate,
                shift_px=shift_px,
                flip=flip,
                erase=erase,
                zoom=zoom,
                color=color,
                side_px=side_px,
                sides=tuple(sides or ()),
                channels=channels,
                store_images=store_images,
                processes=1 if chosen == "cuda" else processes,
                seed=seed,
                without=frozenset(without or ()),
                datasets=read_settings().datasets,
            ),
            tell=lambda text: print(text, flush=True),
        )
    except OrderInvalid as error:
        raise typer.BadParameter(error.reason, param_hint=f"--{error.option}") from error
    if minutes is not None:
        side, recipe = setup.architecture.input.height, setup.recipe
        print(
            f"{minutes:g} minutes: {recipe.epochs:.1f} epochs of {len(setup.data.train)} images of {side} px, "
            f"{recipe.batch} a step",
            flush=True,
        )
    if (setup.work / STATE_FILE).exists():
        print(f"continuing the run in {setup.work}; remove that folder to start anew")
    trained = _with_progress(run_training(setup))
    if trained is None:
        print(f"stopped; the same command goes on (its state is in {setup.work})")
        return EXIT_STOPPED
    publication = Publication(
        name=out.name,
        source=DataSource(name=setup.data.name, licence=licence, credit=credit),
        command=_command(),
        named_in=None if store_images else data,
    )
    card = publish(setup, trained, publication, out)
    print(f"{out}: {len(card.classes)} classes, dense net {card.figures.dense_accuracy:.1%} on test images")
    print(f"look at it: {out / LOOK_FILE}")
    return 0


@training.command()
@ending
def foretell(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of the supernet; it is replaced at the end.")],
    data: Annotated[Path, typer.Option(help="What it was trained on, as for train.")],
    pairs: Annotated[
        int, typer.Option(min=20, help="Models cut out to fit the accuracy predictor.")
    ] = MOST_PAIRS,
) -> int:
    """Fit the accuracy predictor of a supernet anew; its weights and its assembler stay."""
    from assembler.publish import renew
    from assembler.train import watched
    from service.settings import read_settings
    from supernet.card import load_card
    from supernet.data import load_data

    card, datasets = load_card(checkpoint), read_settings().datasets
    image, before = card.architecture.input, card.figures.predictor_error
    images = load_data(data, side_px=image.height, channels=image.channels, datasets=datasets)

    def steps() -> "Generator[Progress | Card, None, None]":
        yield (yield from watched("predictor", renew(checkpoint, images, pairs, _command(), datasets)))

    renewed = _with_progress(steps())
    if renewed is None:
        print("stopped; nothing was changed")
        return EXIT_STOPPED
    print(
        f"{checkpoint}: error of foretold accuracy {renewed.figures.predictor_error:.2%} "
        f"on {renewed.figures.predictor_pairs} unseen class sets, was {before:.2%}"
    )
    return 0


def _command() -> str:
    """Return what was typed, as far as the shell shows it."""
    return shlex.join(["nnfactory", *sys.argv[1:]])


def _with_progress(steps: "Generator[Progress | T, None, None]") -> "T | None":
    """Show a bar with the phase, the loss and the time left; return what is made at last, None when stopped.

    Ctrl-C and SIGTERM stop it after the step that is being made.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from assembler.train import Progress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: stopped.append(caught))
    with Bar(*columns) as bar:
        said = time.monotonic()
        line = bar.add_task("starting", total=None, loss="")
        for step in steps:
            if not isinstance(step, Progress):
                return step
            loss = "" if step.loss is None else f"loss {step.loss:.3f}"
            bar.update(line, description=step.phase, completed=step.step, total=step.total, loss=loss)
            if not bar.console.is_terminal and time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                print(f"{step.phase}: {step.step} of {step.total} {loss}".rstrip(), flush=True)
            if stopped:
                steps.close()
                return None
    raise RuntimeError("it ended without a result")
