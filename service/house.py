"""The house: what every request needs, made once at start."""

from dataclasses import dataclass, field

from anyio import CapacityLimiter
from sqlalchemy import Engine

from service.backlog import Backlog
from service.catalog import Catalog
from service.db import Database
from service.deliveries import Announcer
from service.listeners import Listeners
from service.metrics import Metrics
from service.settings import Settings
from service.shelf import Shelf
from service.signing import Signer, open_signer
from service.store import Store, open_store
from service.zoo import shipped_zoo

STORE_CALLS = 32


@dataclass(frozen=True, slots=True)
class House:
    """Settings, database, files, catalogue, and those who listen."""

    settings: Settings
    database: Database
    store: Store
    catalog: Catalog
    listeners: Listeners
    announcer: Announcer
    backlog: Backlog
    metrics: Metrics
    signer: Signer | None
    # A store that does not answer holds up so many threads and no more.
    store_calls: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(STORE_CALLS))

    @property
    def engine(self) -> Engine:
        """The database for those who may wait."""
        return self.database.engine


def open_house(settings: Settings) -> House:
    """Return the house; the database is not touched yet.

    Raises:
        CheckpointDamaged: a checkpoint is not whole.
        SettingInvalid: two checkpoints have the same name, or the key that signs cannot be used.
    """
    database = Database(settings.database)
    shelf = Shelf((shipped_zoo(), *settings.supernets), settings.datasets)
    return House(
        settings=settings,
        database=database,
        store=open_store(settings),
        catalog=Catalog(settings.data_dir, shelf.members, shelf, alone=settings.database_url is None),
        listeners=Listeners(database),
        announcer=Announcer(settings.redis_url),
        backlog=Backlog(),
        metrics=Metrics(),
        signer=open_signer(settings),
    )
