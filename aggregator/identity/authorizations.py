"""Apps ask, patients answer: from a request to what is asked, and from what the patient leaves to a signed Consent.

https://hl7.org/fhir/smart-app-launch/app-launch.html. An approval is a Consent like every other, signed in the owner
session; the code that the app gets for it stands for the grantee that the Consent names, and for nothing more.

For whoever shows it to a patient (pages, native apps):

- `asked(handle, owner)` tells {app: {id, name, verified, note}, reading: [{scope, resource_type ("*": all), codes:
  [{system, code}]}], refused: [scope], sections: [{name, de, en, sensitive, asked}], offline, until, longest, openid,
  persons: [{vault, patient}]}. verified, note: how the app's name was (parties.py). asked, of a section: it is open
  where the patient changes nothing, as all are that are not sensitive.
- `approve(owner, handle, choice)` takes {reading: [scope], sections: [name], until: instant, patient: id}; each member
  may be left out and then means what `asked` told. It returns where the browser goes, and the Consent's id.
- `deny(handle)` returns where the browser goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson

from aggregator.consent.section_table import DIRECTORY, UNSORTED
from aggregator.errors import CallerError, Refused
from aggregator.identity import app_consents, app_parties, authorization_requests
from aggregator.identity.accounts import Accounts, Owner
from aggregator.identity.app_consents import Approval
from aggregator.identity.app_scopes import OFFLINE, ONLINE, OPENID, Asked, Reading
from aggregator.identity.authorization_requests import Pairs, Request
from aggregator.identity.client_registry import Client
from aggregator.identity.handed_out import Desk, Kind
from aggregator.identity.oauth_errors import NoRedirect, OAuthError, RedirectError
from aggregator.identity.parties import Parties
from aggregator.identity.signing import Signing
from aggregator.identity.used_once import TOKENS
from aggregator.vault.store import Store
from connectors.contract import Clock
from fhir_profiles.profiles import SECTIONS

_PUSHED_SECONDS, _REQUEST_SECONDS, _LAUNCH_SECONDS, _CODE_SECONDS = 90, 600, 300, 60
PUSHED = "urn:ietf:params:oauth:request_uri:"
"""What the request_uri of a pushed request begins with: https://www.rfc-editor.org/rfc/rfc9126#section-2.2"""

OFFERED = tuple(name for name in SECTIONS if name not in (DIRECTORY, UNSORTED))
"""The sections that a patient can leave open or not."""


@dataclass(frozen=True, slots=True)
class _Duration:
    """How long an approval holds: where the patient says nothing, and at most."""

    usual: timedelta
    longest: timedelta


_STANDING = _Duration(timedelta(days=90), timedelta(days=365))
_SITTING = _Duration(timedelta(hours=12), timedelta(hours=12))
_ONCE = _Duration(timedelta(hours=1), timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Approved:
    """Where the browser goes, and the Consent that was signed."""

    url: str
    consent: str


class Authorizations:
    """The requests of one installation. issuer: its base URL."""

    def __init__(
        self,
        store: Store,
        desk: Desk,
        clients: Mapping[str, Client],
        parties: Parties,
        accounts: Accounts,
        signing: Signing,
        clock: Clock,
        issuer: str,
    ) -> None:
        self._store = store
        self._desk = desk
        self._clients = clients
        self._parties = parties
        self._accounts = accounts
        self._signing = signing
        self._clock = clock
        self._issuer = issuer

    def launch(self, owner: Owner, client: str) -> str:
        """A launch token for an app, from the patient's own session. Raises Refused where there is no such app."""
        if client not in self._clients or not self._clients[client].is_app:
            raise Refused("there is no such app")
        return self._give(Kind.LAUNCH, {"client": client, "vault": owner.vault}, _LAUNCH_SECONDS)

    def push(self, client: Client, pairs: Pairs, key: str) -> dict[str, Any]:
        """A request from behind: https://www.rfc-editor.org/rfc/rfc9126. client: it has proved who it is.

        key: the thumbprint of the key that it came with, to which its code is bound (DPoP); or "".
        """
        if "request_uri" in dict(pairs):
            raise OAuthError("invalid_request", "a pushed request has no request_uri")
        request = self._checked(pairs, client)
        if key and request.key not in ("", key):
            raise OAuthError("invalid_request", "dpop_jkt is another key than that of the proof")
        handle = self._give(Kind.PUSHED, asdict(request) | {"key": key or request.key}, _PUSHED_SECONDS)
        return {"request_uri": PUSHED + handle, "expires_in": _PUSHED_SECONDS}

    def begin(self, pairs: Pairs) -> str:
        """Keep a request until a patient answers; returns its handle. Raises NoRedirect, RedirectError."""
        pushed = dict(pairs).get("request_uri", "")
        if pushed.startswith(PUSHED):
            request = self._pushed(pushed.removeprefix(PUSHED), dict(pairs).get("client_id", ""))
        else:
            client = authorization_requests.client_of(pairs, self._clients)
            try:
                request = self._checked(pairs, client)
            except OAuthError as error:
                told = dict(pairs)
                raise RedirectError(self._back(told["redirect_uri"], told.get("state", ""), error.told())) from None
        return self._give(Kind.REQUEST, asdict(request), _REQUEST_SECONDS)

    def asked(self, handle: str, owner: Owner) -> dict[str, Any]:
        """What an app asks of this patient, as the module says. Raises Refused where nothing is asked, or no longer."""
        request, client = self._look(handle, owner)
        asked, now, duration = request.asked, self._clock(), _duration(request.asked)
        known = self._parties.verified(client.id)
        return {
            "app": {"id": client.id, "name": known.name, "verified": known.verified, "note": known.note},
            "reading": [_told(one) for one in asked.reading],
            "refused": list(asked.refused),
            "sections": [_section(name) for name in OFFERED],
            "offline": OFFLINE in asked.plain,
            "until": _instant(now + duration.usual),
            "longest": _instant(now + duration.longest),
            "persons": [{"vault": owner.vault, "patient": owner.whole_patient}],
            "openid": OPENID in asked.plain,
        }

    def approve(self, owner: Owner, handle: str, choice: Mapping[str, Any]) -> Approved:
        """Sign what the patient leaves. Raises Refused, UnlockNeeded, and CallerError for a choice that is none."""
        self._accounts.may_sign(owner)
        request, client = self._look(handle, owner)
        approval = self._approval(request, client, owner, choice)
        self._take(handle)  # before it is signed: two answers to one question are one
        body, _ = self._signing.save_consent(owner, app_consents.consent(approval))
        scopes = request.asked.granted(approval.reading)
        grant = {"authorization": approval.authorization, "scopes": scopes, "until": int(approval.end.timestamp())}
        grant |= {"patient": owner.whole_patient}
        code = self._give(Kind.CODE, asdict(request) | grant, _CODE_SECONDS)
        return Approved(self._back(request.redirect_uri, request.state, {"code": code}), orjson.loads(body)["id"])

    def deny(self, handle: str) -> str:
        """The patient does not want it. Raises Refused where nothing is asked, or no longer."""
        request = self._take(handle)
        return self._back(request.redirect_uri, request.state, OAuthError("access_denied").told())

    def _checked(self, pairs: Pairs, client: Client) -> Request:
        """Raises OAuthError."""
        return authorization_requests.checked(
            pairs, f"{self._issuer}/fhir", lambda token: self._launched(token, client)
        )

    def _launched(self, token: str, client: Client) -> str:
        """The vault of the session that a launch token came from, which is used up."""
        try:
            with self._store.write(TOKENS) as session:
                told = self._desk.take(session, Kind.LAUNCH, token)
        except Refused:
            told = {"client": None}
        if told["client"] != client.id:
            raise OAuthError("invalid_request", "the launch is not known, not this app's, or over")
        return str(told["vault"])

    def _pushed(self, token: str, client: str) -> Request:
        try:
            with self._store.write(TOKENS) as session:
                request = Request(**self._desk.take(session, Kind.PUSHED, token))
        except Refused:
            raise NoRedirect from None
        if request.client != client:
            raise NoRedirect
        return request

    def _look(self, handle: str, owner: Owner) -> tuple[Request, Client]:
        with self._store.read() as session:
            request = Request(**self._desk.look(session, Kind.REQUEST, handle))
        client = self._clients.get(request.client)
        if client is None or not _may_answer(owner, request):
            raise Refused("there is no such request, or no longer")
        return request, client

    def _take(self, handle: str) -> Request:
        with self._store.write(TOKENS) as session:
            return Request(**self._desk.take(session, Kind.REQUEST, handle))

    def _give(self, kind: Kind, told: Mapping[str, Any], seconds: int) -> str:
        family = self._desk.family(told["authorization"]) if kind is Kind.CODE else b""
        with self._store.write(TOKENS) as session:
            return self._desk.give(session, kind, told, int(self._clock().timestamp()) + seconds, family)

    def _approval(self, request: Request, client: Client, owner: Owner, choice: Mapping[str, Any]) -> Approval:
        asked, now = request.asked, self._clock()
        if choice.get("patient", owner.whole_patient) != owner.whole_patient:
            raise CallerError.at("patient", "an app can be let into one's own record alone")
        offered = {one.text: one for one in asked.reading}
        kept = _kept(choice, "reading", offered, offered)
        sections = _kept(choice, "sections", OFFERED, _usual())
        return Approval(
            authorization=app_parties.new_authorization(owner.vault),
            app=client.settings.name,
            reading=tuple(offered[one] for one in kept),
            sections=tuple(sections),
            start=now,
            end=_until(choice, now, _duration(asked)),
        )

    def _back(self, redirect_uri: str, state: str, told: Mapping[str, str]) -> str:
        """https://www.rfc-editor.org/rfc/rfc9207: the answer says who gives it."""
        told = {**told, **({"state": state} if state else {}), "iss": self._issuer}
        return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(told)}"


def _may_answer(owner: Owner, request: Request) -> bool:
    """What was launched from a session is answered by whose it was; everything else by whoever signs in."""
    return request.launch in ("", owner.vault)


def _duration(asked: Asked) -> _Duration:
    return _STANDING if OFFLINE in asked.plain else _SITTING if ONLINE in asked.plain else _ONCE


def _told(one: Reading) -> dict[str, Any]:
    codes = [{"system": system, "code": code} for system, code in one.codes]
    return {"scope": one.text, "resource_type": one.resource_type, "codes": codes}


def _section(name: str) -> dict[str, Any]:
    section = SECTIONS[name]
    told = {"name": name, "de": section.de, "en": section.en}
    return told | {"sensitive": section.sensitive, "asked": not section.sensitive}


def _usual() -> list[str]:
    return [name for name in OFFERED if not SECTIONS[name].sensitive]


def _kept(choice: Mapping[str, Any], name: str, offered: Collection[str], usual: Iterable[str]) -> list[str]:
    """What the patient leaves of what is offered. Raises CallerError for what is not, and where nothing is left."""
    kept = choice.get(name, list(usual))
    if not isinstance(kept, list) or not kept or not all(isinstance(one, str) and one in offered for one in kept):
        raise CallerError.at(name, "a list of what is asked is needed, at least one of it")
    return [one for one in offered if one in kept]


def _until(choice: Mapping[str, Any], now: datetime, duration: _Duration) -> datetime:
    told = choice.get("until", _instant(now + duration.usual))
    try:
        until = datetime.fromisoformat(told)
        right = now < until <= now + duration.longest
    except (TypeError, ValueError):
        right = False
    if not right:
        raise CallerError.at("until", f"an instant is needed, at the latest {_instant(now + duration.longest)}")
    return until


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
