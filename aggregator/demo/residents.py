"""Who lives in the demo world: each patient's accounts, feeds and consents, and how a patient moves in.

Moving in is what a patient does with the service over HTTP: sign up, type the recovery code back, connect sources,
redeem activation codes, sign consents. Every step looks first whether it was done in an earlier run.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from aggregator.api.service import Service
from aggregator.consent.mandate import Person
from aggregator.demo import consents
from aggregator.demo.data_folder import DataFolder
from aggregator.demo.door import Door
from aggregator.demo.home import Home, Purse
from aggregator.demo.settings import Provider, family_doctor, laboratory_doctor
from aggregator.demo.sources import CLINIC, INSURER, Sources, laboratory, plans
from aggregator.demo.story import Person as StoryPerson
from aggregator.demo.story import people, practices
from fhir_profiles.text import Resource

Write = Callable[[Provider, str, datetime], Resource]
"""(provider, the patient's whole id, now) -> the Consent to sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A patient of the demo. accounts: source authority -> account settings but for the token; feeds: authorities that
    are joined with an activation code; consents: to whom, and what the Consent says."""

    short: str
    name: str
    person: Person
    accounts: Mapping[str, Mapping[str, str]]
    feeds: tuple[str, ...] = ()
    consents: tuple[tuple[Provider, Write], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A resident with an owner session. id: the Patient's whole id; connections: connection id -> source authority."""

    resident: Resident
    id: str
    login: str
    password: str
    token: str
    connections: Mapping[str, str]


def residents(data: DataFolder | None) -> tuple[Resident, ...]:
    """The three of the stories, then those of the data folder."""
    return (*map(_of_story, people()), *(_of_data(data) if data else ()))


def _of_story(person: StoryPerson) -> Resident:
    """Everybody trusts the family doctor; the laboratory doctor sees results alone."""
    plan_accounts = {plans(one): {"patient_number": person.patient_numbers[one.id]} for one in practices()}
    return Resident(
        short=person.id,
        name=person.name,
        person=Person(
            family=person.family, given=person.given, birth_date=person.birth_date.isoformat(), kvnr=person.kvnr
        ),
        accounts=MappingProxyType(
            {CLINIC: {"patient_id": person.clinic_id}, INSURER: {"patient_id": person.insurer_id}} | plan_accounts
        ),
        feeds=tuple(map(laboratory, practices())),
        consents=(
            (family_doctor(), consents.everything_but_sensitive),
            (laboratory_doctor(), consents.results_alone),
        ),
    )


def _of_data(data: DataFolder) -> list[Resident]:
    """One connection each, and full consent for the first provider."""
    return [
        Resident(
            short=one.short,
            name=f"{one.person.given} {one.person.family}",
            person=one.person,
            accounts=MappingProxyType({CLINIC: {"patient_id": one.clinic_id}}),
            consents=((family_doctor(), consents.everything),),
        )
        for one in data.patients
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingIn:
    """What all residents need to move in."""

    service: Service
    door: Door
    home: Home
    sources: Sources

    async def all(self, everybody: tuple[Resident, ...], tick: Callable[[], None]) -> list[SignedIn]:
        """One after the other: each waits for Argon2, which takes all cores anyway. `tick` is called after each."""
        made = []
        for resident in everybody:
            made.append(await self._one(resident))
            tick()
        return made

    async def _one(self, resident: Resident) -> SignedIn:
        purse = self.home.purse(resident.short, self.sources.servers.keys() & resident.accounts.keys())
        self._open_accounts(resident, purse)
        token, patient, purse = await self._sign_in(resident, purse)
        joined = {row["source"] for row in await self.door.connections(token)}
        if not joined:
            await self.door.prove_recovery(purse.login, purse.recovery_code)
        await self._connect(resident, purse, token, joined)
        await self._sign_consents(resident, token, patient)
        rows = await self.door.connections(token)
        return SignedIn(
            resident=resident,
            id=patient,
            login=purse.login,
            password=purse.password,
            token=token,
            connections=MappingProxyType({row["id"]: row["source"] for row in rows}),
        )

    def _open_accounts(self, resident: Resident, purse: Purse) -> None:
        """At the source's side: the patient's token opens the patient's compartment."""
        for authority, token in purse.tokens.items():
            self.sources.servers[authority].access.allow(token, resident.accounts[authority]["patient_id"])

    async def _sign_in(self, resident: Resident, purse: Purse) -> tuple[str, str, Purse]:
        """(token, whole Patient id, the purse as it is now)."""
        if purse.recovery_code:
            told = await self.door.sign_in(purse.login, purse.password)
        else:
            with _undisturbed():  # an account whose recovery code was not kept would be nobody's
                told = await self.door.sign_up(purse.login, purse.password, resident.person)
                purse = replace(purse, recovery_code=told["recovery_code"])
                self.home.keep(resident.short, purse)
        return told["token"], told["patient"], purse

    async def _connect(self, resident: Resident, purse: Purse, token: str, joined: set[str]) -> None:
        for authority, account in resident.accounts.items():
            if authority not in joined:
                secret = {"bearer_token": purse.tokens[authority]} if authority in purse.tokens else {}
                await self.door.connect(token, authority, {**account, **secret})
        for authority in resident.feeds:
            if authority not in joined:
                # The practice's side: it has seen the person's card and hands out a code on paper.
                code = await asyncio.to_thread(self.service.connections.issue_code, authority, resident.person)
                await self.door.activate(token, code)

    async def _sign_consents(self, resident: Resident, token: str, patient: str) -> None:
        for provider, write in resident.consents:
            consent = write(provider, patient, self.service.clock())
            query = f"/fhir/Consent?patient={patient}&identifier={consents.identifier_of(consent)}"
            if not (await self.door.get(query, token)).get("entry"):
                await self.door.sign_consent(token, consent)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            signal.raise_signal(signal.SIGINT)
