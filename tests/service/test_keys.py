import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from service.db import reading, writing
from service.ids import is_id, new_id
from service.keys import (
    DIGITS,
    SECRET,
    Key,
    create_key,
    get_key,
    key_id_of,
    list_keys,
    new_secret,
    note_uses,
    revoke_key,
)
from service.scopes import Scope
from service.tables import api_keys
from tests.servers import ON_BOTH_DATABASES

pytestmark = ON_BOTH_DATABASES
ID = new_id("key")
# One for all examples of a property: what is drawn must not depend on chance.
GIVEN = new_secret(ID)


def make(engine: Engine, tenant: str = "acme", **changes: Any) -> tuple[Key, str]:
    options = {"scopes": (Scope.WRITE, Scope.READ), "label": None, "expires_at": None, "now": 100.0}
    with writing(engine) as connection:
        return create_key(connection, tenant, **{**options, **changes})


def test_a_secret_leads_to_its_key() -> None:
    secret = new_secret(ID)
    assert SECRET.fullmatch(secret)
    assert key_id_of(secret) == ID
    assert new_secret(ID) != secret


@given(st.data())
def test_a_secret_with_one_other_character_is_none(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(GIVEN) - 1))
    other = data.draw(st.sampled_from(DIGITS).filter(lambda one: one != GIVEN[place]))
    assert key_id_of(GIVEN[:place] + other + GIVEN[place + 1 :]) is None


@given(st.text())
def test_other_texts_are_no_secrets(text: str) -> None:
    assert key_id_of(text) is None
    assert key_id_of(GIVEN + (text or "x")) is None


def test_a_key_is_read_as_it_was_made_and_the_secret_is_nowhere(engine: Engine) -> None:
    key, secret = make(engine, label="dock 3", expires_at=200.0)
    assert is_id(key.id, "key")
    with reading(engine) as connection:
        assert get_key(connection, key.id) == key
        assert get_key(connection, "key_unknown") is None
        row = connection.execute(select(api_keys)).mappings().one()
    assert key.scopes == (Scope.READ, Scope.WRITE)
    assert key.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
    # Neither the secret nor its random part stands in the row, and not even the digest in what is printed.
    assert secret[36:79] not in str(dict(row))
    assert key.secret_sha256 not in repr(key)


def test_a_key_is_good_until_it_expires_or_is_revoked(engine: Engine) -> None:
    key, secret = make(engine, expires_at=200.0)
    assert key.opens(secret, 199.9)
    assert not key.opens(secret, 200.0)
    assert not key.opens(new_secret(key.id), 150.0)
    other, other_secret = make(engine)
    assert other.opens(other_secret, 1e10)
    assert not other.opens(secret, 150.0)
    with writing(engine) as connection:
        assert revoke_key(connection, other.id, now=160.0)
        assert not revoke_key(connection, other.id, now=170.0)
        assert not revoke_key(connection, "key_unknown", now=170.0)
        found = get_key(connection, other.id)
    assert found is not None
    assert found.revoked_at == 160.0
    assert not found.opens(other_secret, 150.0)


def test_keys_are_listed_by_tenant_newest_first(engine: Engine) -> None:
    first, other, last = (make(engine, tenant)[0] for tenant in ("acme", "zeta", "acme"))
    with reading(engine) as connection:
        assert list_keys(connection, "acme") == [last, first]
        assert list_keys(connection, None) == [last, other, first]
        assert list_keys(connection, "acme", before=last.id) == [first]
        assert list_keys(connection, "acme", limit=1) == [last]
        assert list_keys(connection, "nobody") == []


def test_the_last_use_is_written(engine: Engine) -> None:
    key, _ = make(engine)
    with writing(engine) as connection:
        note_uses(connection, {key.id: 150.0, "key_unknown": 1.0})
        found = get_key(connection, key.id)
    assert found is not None
    assert found.last_used_at == 150.0
