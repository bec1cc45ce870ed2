"""Who asks, and what a key must be good for: every route declares its scope, and is given the caller."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from sqlalchemy import Connection

from service.audit import Action, Actor, note
from service.errors import Refused
from service.http import demand_known_query
from service.scopes import DEFAULT_TENANT, Scope

REALM = 'Bearer realm="nn-factory"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: for which tenant, good for what, what the audit log says of it, and its place in a trace."""

    tenant: str
    scopes: frozenset[Scope]
    actor: Actor
    traceparent: str | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether its key is good for this."""
        return scope in self.scopes or (scope is Scope.ADMIN and Scope.OPERATOR in self.scopes)

    def note(
        self, connection: Connection, action: Action, *, target: str, now: float, count: int = 1
    ) -> None:
        """Write down what it does for its tenant; arguments are those of ``audit.Entry``."""
        note(connection, action, self.actor, tenant=self.tenant, target=target, count=count, now=now)

    @property
    def request_id(self) -> str:
        """The id of its request."""
        return self.actor.request_id or ""

    @property
    def reach(self) -> str | None:
        """The tenant whose keys and log an admin sees; None for an operator, who sees all."""
        return None if Scope.OPERATOR in self.scopes else self.tenant


def anyone(actor: Actor) -> Caller:
    """Return who asks where no keys are wanted: keys made so would outlive that, so that it is no admin."""
    return Caller(DEFAULT_TENANT, frozenset({Scope.READ, Scope.WRITE, Scope.METRICS}), actor)


class Permitted(SecurityBase):
    """What a route asks for who calls it; in the description of the interface, the key that is wanted."""

    def __init__(self) -> None:
        self.scheme_name = "key"
        self.model = HTTPBearer(
            description="The secret of an API key (`nnfactory keys create`), where NNF_AUTH=required."
        )

    async def __call__(self, request: Request, needed: SecurityScopes) -> Caller:
        """Return who asks.

        Raises:
            Refused: its key is not good for this, or the query has parameters that the route does not know.
        """
        caller: Caller = request.state.caller
        for name in needed.scopes:
            if not caller.may(Scope(name)):
                raise _insufficient(caller, name)
        demand_known_query(request)
        return caller


PERMITTED = Permitted()
Reader = Annotated[Caller, Security(PERMITTED, scopes=[Scope.READ.value])]
Writer = Annotated[Caller, Security(PERMITTED, scopes=[Scope.WRITE.value])]
Watcher = Annotated[Caller, Security(PERMITTED, scopes=[Scope.METRICS.value])]
Admin = Annotated[Caller, Security(PERMITTED, scopes=[Scope.ADMIN.value])]


def _insufficient(caller: Caller, scope: str) -> Refused:
    detail = f"this needs a key with the scope {scope}"
    if caller.actor.key_id is None:
        detail += "; there are none while NNF_AUTH is off, `nnfactory keys` works all the same"
    headers = {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'}
    return Refused("insufficient-scope", detail, headers=headers)
