"""How somebody shows in a page who they are: by passkey or by password, to sign in, or once more before they sign."""

from __future__ import annotations

import asyncio

from aggregator.api.caller import Callers
from aggregator.api.device import family
from aggregator.api.doorway import Doorway
from aggregator.api.service import Service
from aggregator.api.settling import settled
from aggregator.errors import CallerError
from aggregator.identity.accounts import Owner
from aggregator.identity.passkeys import Credential
from aggregator.identity.turns import Turns
from aggregator.portal.visit import Visit
from fhir_profiles.text import NotJson, loads

PASSWORD, ASSERTION = "unlock_password", "unlock_assertion"
"""What a form is asked for beside its own fields."""


class Unlocking:
    """Sign-ins and unlocks of one installation's pages."""

    def __init__(self, service: Service, callers: Callers, turns: Turns) -> None:
        self._service = service
        self._callers = callers
        self._turns = turns
        self._doorway = Doorway(service, turns)

    async def sign_in(self, visit: Visit) -> None:
        """The browser is its owner's from here on, in a new session, whatever it had before. Raises CallerError."""
        named, accounts = device(visit), self._service.accounts
        if given := _credential(visit):
            owner = await asyncio.to_thread(self._service.ways_in.sign_in, given, named)
        else:
            login, password = visit.field("login"), visit.secret_field(PASSWORD)
            owner = await self._doorway.through(visit.request, accounts.sign_in, login, password, named)
        await self.enter(visit, owner)

    async def enter(self, visit: Visit, owner: Owner) -> None:
        """This owner's session takes the place of what the browser had."""
        await self.leave(visit)
        await settled(self._service, owner)
        visit.enter(self._callers.remembered(owner.token))

    async def leave(self, visit: Visit) -> None:
        """The browser's session is over, here and in the database."""
        if visit.known is not None:
            await asyncio.to_thread(self._service.accounts.sign_out, visit.owner.token)
            self._callers.forget(visit.owner.token)
            visit.begin()

    def is_fresh(self, visit: Visit) -> bool:
        """Was the last unlock within the minutes in which one may sign?"""
        return self._service.accounts.unlocked_lately(visit.owner)

    async def again(self, visit: Visit) -> str:
        """Unlock with what the form says; returns what is wrong, empty where it is done."""
        before, named = visit.owner, device(visit)
        password = visit.secret_field(PASSWORD)
        try:
            if given := _credential(visit):
                owner = await asyncio.to_thread(self._service.ways_in.unlock_again, before, given, named)
            elif password:
                owner = await self._turns.take(self._service.accounts.unlock_again, before, password, named)
            else:
                return "needed"
        except CallerError:
            return "wrong"
        self._callers.forget(before.token)
        visit.enter(self._callers.remembered(owner.token))
        return ""


def _credential(visit: Visit) -> Credential | None:
    """What the browser's passkey answered; None where no passkey was used. Raises CallerError."""
    return parsed(visit, ASSERTION) if visit.field(ASSERTION) else None


def parsed(visit: Visit, name: str) -> Credential:
    """A field that a script filled with an authenticator's answer. Raises CallerError."""
    try:
        made = loads(visit.field(name))
    except NotJson:
        made = None
    if not isinstance(made, dict):
        raise CallerError.at(name, "a passkey's answer is expected")
    return made


def device(visit: Visit) -> str:
    """What a session that begins now is called."""
    return family(visit.request.headers.get("user-agent", ""))
