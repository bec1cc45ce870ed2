"""Profiles that workers on other machines measured: shared through the database, read from files as one's own are.

In the embedded case there is nothing to share: worker and HTTP process have one data folder.
"""

import json
import logging
from pathlib import Path

from sqlalchemy import Connection, func, insert, select

from assembler.device import FOLDER, Profile, profile_path, save_profile
from service.db import one_at_a_time
from service.tables import device_profiles as profiles

log = logging.getLogger(__name__)


def share_profiles(connection: Connection, data_dir: Path, *, now: float) -> int:
    """Write those profiles of a data folder into the database that are not in it yet; return how many.

    Args:
        connection: a writing transaction.
        data_dir: of this machine.
        now: s.
    """
    # Workers that start together may share a folder.
    one_at_a_time(connection, "profiles")
    known = set(connection.scalars(select(profiles.c.digest)))
    count = 0
    for path in sorted((data_dir / FOLDER).glob("*.json")):
        try:
            stored = json.loads(path.read_bytes())
            profile = Profile.model_validate(stored["profile"])
        except (OSError, ValueError, KeyError, TypeError):
            # Whoever uses it says what is wrong with it.
            continue
        if profile.digest == stored.get("digest") and profile.digest not in known:
            add_profile(connection, profile, now=now)
            count += 1
    return count


def add_profile(connection: Connection, profile: Profile, *, now: float) -> None:
    """Insert a profile."""
    connection.execute(
        insert(profiles).values(
            digest=profile.digest,
            device=profile.device,
            supernet=profile.supernet,
            document=profile.model_dump(mode="json", exclude_defaults=True),
            created_at=now,
        )
    )


def newest_profiles(connection: Connection) -> list[Profile]:
    """Return the newest profile of each device for each supernet."""
    rank = func.row_number().over(
        partition_by=(profiles.c.device, profiles.c.supernet),
        order_by=(profiles.c.created_at.desc(), profiles.c.digest),
    )
    ranked = select(profiles.c.document, rank.label("rank")).subquery()
    rows = connection.scalars(select(ranked.c.document).where(ranked.c.rank == 1))
    return [Profile.model_validate_json(json.dumps(row)) for row in rows]


def keep_profiles(found: list[Profile], data_dir: Path) -> int:
    """Write profiles into a data folder where they are not in it; return how many.

    Raises:
        ProfileUnsaved: a file cannot be written.
    """
    count = 0
    for profile in found:
        path = profile_path(data_dir, profile.device, profile.supernet)
        try:
            there = json.loads(path.read_bytes())["digest"]
        except (OSError, ValueError, KeyError, TypeError):
            there = None
        if there != profile.digest:
            save_profile(profile, data_dir)
            count += 1
    return count
