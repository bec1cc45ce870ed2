"""Routes of what can be asked for: supernets and tasks."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from assembler.device import Device
from service.auth import Reader, Writer
from service.catalog import Catalog
from service.devices import Own, own_devices
from service.house import House
from service.http import demand_json, json_response
from service.parameters import query_parameter
from service.schemas import (
    DenseView,
    InputView,
    LeftOutView,
    SupernetsView,
    SupernetView,
    TasksView,
    TaskView,
)
from service.zoo import Member
from supernet.card import Card

router = APIRouter()
DEVICE = query_parameter("device", "whose figures are given", {"type": "string", "default": "local"})


@router.get("/supernets", openapi_extra={"parameters": [DEVICE]}, response_model=SupernetsView)
async def list_supernets(request: Request, caller: Reader) -> Response:
    """List the supernets, with the figures of the dense net on a device."""
    demand_json(request)
    house: House = request.app.state.house
    catalog = house.catalog
    name = request.query_params.get("device", "local")
    own = await own_devices(house.database, caller.tenant, [name])
    device = catalog.device(name, own, pointer="/device")
    found = await run_in_threadpool(
        lambda: [_view_supernet(catalog, one, device, own) for one in catalog.members]
    )
    left_out = [LeftOutView(name=one.name, kind=one.kind, lacks=one.lacks) for one in catalog.left_out]
    return json_response(SupernetsView(supernets=found, left_out=left_out))


@router.post("/supernets/rescan", openapi_extra={"parameters": [DEVICE]}, response_model=SupernetsView)
async def rescan_supernets(request: Request, caller: Writer) -> Response:
    """Look for new, changed and removed supernets now, and list all; it is also done every few seconds unasked."""
    demand_json(request)
    await run_in_threadpool(request.app.state.house.catalog.look)
    return await list_supernets(request, caller)


@router.get("/tasks", response_model=TasksView)
async def list_tasks(request: Request, caller: Reader) -> Response:
    """List what can be recognised: any classes of one supernet together."""
    demand_json(request)
    cards = [member.card for member in request.app.state.house.catalog.members]
    tasks = [
        TaskView(
            kind=card.kind.value, supernet=card.name, classes=list(card.classes), groups=_groups_of(card)
        )
        for card in cards
    ]
    return json_response(TasksView(tasks=tasks))


def _view_supernet(catalog: Catalog, member: Member, device: Device, own: Own) -> SupernetView:
    card = member.card
    image = card.architecture.input
    return SupernetView(
        name=card.name,
        kind=card.kind.value,
        classes=list(card.classes),
        groups=_groups_of(card),
        input=InputView(channels=image.channels, height=image.height, width=image.width),
        dense=DenseView(**catalog.dense(card, device, own)),
        card={"digest": f"sha256:{card.digest}", **card.model_dump(mode="json")},
    )


def _groups_of(card: Card) -> dict[str, list[str]]:
    return {name: [card.classes[c] for c in members] for name, members in card.groups.items()}
