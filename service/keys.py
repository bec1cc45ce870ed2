"""API keys: a secret is shown once, and of it only the SHA-256 is kept.

A secret is ``nnf_``, the 32 digits of the key's id, 43 random characters and 6 of a checksum: scanners recognise it,
what was mistyped needs no look at the database, and the right row is found by its id. 256 random bits cannot be
guessed, so that no slow hash is needed.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, RowMapping, insert, select, update

from service.ids import new_id
from service.scopes import Scope
from service.tables import api_keys

DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_BITS = 256
RANDOM_CHARACTERS = 43
SUM_CHARACTERS = 6
SECRET = re.compile(rf"nnf_([0-9a-f]{{32}})[0-9A-Za-z]{{{RANDOM_CHARACTERS + SUM_CHARACTERS}}}")
# The time of the last use is written no more often.
USE_S = 300.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret; times are seconds since 1970 UTC, ``last_used_at`` is right within minutes."""

    id: str
    tenant: str
    scopes: tuple[Scope, ...]
    secret_sha256: str = field(repr=False)
    label: str | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def opens(self, secret: str, now: float) -> bool:
        """Return whether this is its secret, and it is still good."""
        return hmac.compare_digest(_sha256(secret), self.secret_sha256) and self.is_good(now)

    def is_good(self, now: float) -> bool:
        """Return whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_secret(key_id: str) -> str:
    """Return a fresh secret for a key."""
    start = f"nnf_{key_id.partition('_')[2]}{_text(secrets.randbits(RANDOM_BITS), RANDOM_CHARACTERS)}"
    return start + _checksum(start)


def key_id_of(secret: str) -> str | None:
    """Return the id of the key whose secret this may be, None where it can be no secret at all."""
    found = SECRET.fullmatch(secret)
    if found is None or _checksum(secret[:-SUM_CHARACTERS]) != secret[-SUM_CHARACTERS:]:
        return None
    return f"key_{found[1]}"


def create_key(
    connection: Connection,
    tenant: str,
    *,
    scopes: Sequence[Scope],
    label: str | None,
    expires_at: float | None,
    now: float,
) -> tuple[Key, str]:
    """Insert a key; return it with its secret, which nobody can be told again."""
    key_id = new_id("key")
    secret = new_secret(key_id)
    ordered = tuple(scope for scope in Scope if scope in scopes)
    key = Key(key_id, tenant, ordered, _sha256(secret), label, now, expires_at)
    values = {name: getattr(key, name) for name in Key.__slots__}
    connection.execute(insert(api_keys).values({**values, "scopes": list(ordered)}))
    return key, secret


def get_key(connection: Connection, key_id: str) -> Key | None:
    """Return a key of any tenant, None when there is none of this id."""
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).mappings().first()
    return None if row is None else _key(row)


def list_keys(
    connection: Connection, tenant: str | None, *, before: str | None = None, limit: int | None = None
) -> list[Key]:
    """Return keys, newest first, those that are no longer good too.

    Args:
        connection: any transaction.
        tenant: whose; None for all.
        before: only those older than the one of this id.
        limit: at most this many.
    """
    query = select(api_keys).order_by(api_keys.c.id.desc()).limit(limit)
    if tenant is not None:
        query = query.where(api_keys.c.tenant == tenant)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    return [_key(row) for row in connection.execute(query).mappings()]


def revoke_key(connection: Connection, key_id: str, *, now: float) -> bool:
    """Have a key be good no longer; say whether it was not revoked before."""
    query = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return connection.execute(query.values(revoked_at=now)).rowcount == 1


def note_uses(connection: Connection, used_at: Mapping[str, float]) -> None:
    """Write when keys were used last."""
    # In one order: two processes that do so at once must not wait for each other.
    for key_id, at in sorted(used_at.items()):
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))


def _key(row: RowMapping) -> Key:
    return Key(**{**row, "scopes": tuple(Scope(scope) for scope in row["scopes"])})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(text: str) -> str:
    return _text(zlib.crc32(text.encode()), SUM_CHARACTERS)


def _text(number: int, characters: int) -> str:
    found = ""
    for _ in range(characters):
        number, digit = divmod(number, len(DIGITS))
        found = DIGITS[digit] + found
    return found
