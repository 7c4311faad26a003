"""Who may sign in: the clients of the settings, and those that the operator approved while the service runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import orjson

from aggregator.config import ClientSettings
from aggregator.consent.decide import Party, PartyKind
from aggregator.consent.section_table import Coding
from aggregator.errors import OperatorError
from aggregator.identity import redirect_uris
from aggregator.identity.app_parties import APP
from aggregator.identity.client_keys import Fetch, FetchedKeys, FixedKeys, Keys, key_set
from aggregator.identity.registrations import Registration, Registrations, State
from aggregator.vault.key_service import PERSON
from connectors.contract import Clock
from fhir_profiles.codes import GIVEN_HERE, PARTY_CLASS


@dataclass(frozen=True, slots=True)
class Client:
    """A registered party: its settings, its keys (none: a public client), and how Consents name it."""

    id: str
    settings: ClientSettings
    keys: Keys | None
    party: Party

    @property
    def is_app(self) -> bool:
        """Does it come by a patient's approval, and never by itself?"""
        return self.party.kind is PartyKind.APP


class ClientRegistry(Mapping[str, Client]):
    """Those who may sign in just now, by client id."""

    def __init__(
        self, configured: Mapping[str, Client], registrations: Registrations, fetch: Fetch, clock: Clock
    ) -> None:
        self._configured = configured
        self._registrations = registrations
        self._fetch = fetch
        self._clock = clock
        self._made: dict[str, Client] = {}

    def __getitem__(self, client_id: str) -> Client:
        if client_id in self._configured:
            return self._configured[client_id]
        found = self._registrations.find(client_id)
        if found is None or found.state is not State.APPROVED:
            raise KeyError(client_id)
        return self._client(found)

    def __iter__(self) -> Iterator[str]:
        return iter([*self._configured, *(one.id for one in self._registrations.all(State.APPROVED))])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _client(self, registered: Registration) -> Client:
        """The same object as long as its row is the same: it remembers the keys that it fetched."""
        known = self._made.get(registered.id)
        if known is None or known.settings != registered.claim.settings:
            known = client(registered.id, registered.claim.settings, self._fetch, self._clock)
            self._made[registered.id] = known
        return known


def register(settings: Mapping[str, ClientSettings], fetch: Fetch, clock: Clock) -> dict[str, Client]:
    """The configured clients. Raises OperatorError for what cannot be used."""
    return {name: client(name, one, fetch, clock) for name, one in settings.items()}


def client(name: str, settings: ClientSettings, fetch: Fetch, clock: Clock) -> Client:
    """A client, from what is set or was approved. Raises OperatorError."""
    if name.startswith((PERSON, APP)) or any(one.system.startswith(GIVEN_HERE) for one in settings.identifiers):
        raise OperatorError(
            f"clients.{name}: named like a person with a record here; choose another name or identifier"
        )
    for wrong, told in _RULES:
        if wrong(settings):
            raise OperatorError(f"clients.{name}.{told}")
    for field, address in _addresses(settings):
        if told := redirect_uris.fault(address):
            raise OperatorError(f"clients.{name}.{field}: {told}")
    return Client(
        name, settings, _keys(name, settings, fetch, clock), Party(name, _named(settings), PartyKind(settings.kind))
    )


def _named(settings: ClientSettings) -> frozenset[Coding]:
    """By its identifiers, and as one of its kind: in an emergency a patient may let in any provider, known or not."""
    own = codings(settings)
    return own if settings.kind == "app" else own | {(PARTY_CLASS, settings.kind)}


def codings(settings: ClientSettings) -> frozenset[Coding]:
    """The identifiers of its own."""
    return frozenset((one.system, one.value) for one in settings.identifiers)


def _addresses(settings: ClientSettings) -> Iterator[tuple[str, str]]:
    yield from ((f"redirect_uris.{at}", one) for at, one in enumerate(settings.redirect_uris))
    yield from ((name, one) for name in ("launch_uri", "jwks_uri") if (one := getattr(settings, name)))


def _sources(settings: ClientSettings) -> int:
    return sum(map(bool, (settings.jwks_file, settings.jwks, settings.jwks_uri)))


_RULES: tuple[tuple[Callable[[ClientSettings], bool], str], ...] = (
    (
        lambda one: one.kind == "app" and not one.redirect_uris,
        "redirect_uris: where the app is sent back to; name at least one address",
    ),
    (
        lambda one: one.kind != "app" and bool(one.redirect_uris or one.launch_uri),
        'redirect_uris: only an app has an address; take it away, or set kind = "app"',
    ),
    (
        lambda one: one.kind != "app" and not _sources(one),
        "jwks_file: its public keys are needed; only an app may have none",
    ),
    (lambda one: _sources(one) > 1, "jwks_file: more than one of it, jwks and jwks_uri is set; keep one"),
)
"""What no client may be, and what is told then."""


def _keys(name: str, settings: ClientSettings, fetch: Fetch, clock: Clock) -> Keys | None:
    if settings.jwks_uri:
        return FetchedKeys(f"clients.{name}.jwks_uri", settings.jwks_uri, fetch, clock)
    if settings.jwks:
        return FixedKeys(key_set(settings.jwks, f"clients.{name}.jwks: the setting"))
    if settings.jwks_file is None:
        return None
    place = f"clients.{name}.jwks_file: {settings.jwks_file}"
    if not settings.jwks_file.is_file():
        raise OperatorError(f"{place} is not there; write the client's public keys there")
    try:
        told = orjson.loads(settings.jwks_file.read_bytes())
    except (OSError, ValueError):
        told = None
    return FixedKeys(key_set(told, place))
