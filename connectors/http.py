"""HTTP towards one source: who must act on which answer, what is tried again, how much is read, where a token may go.

A `Source` speaks to one origin (scheme, host, port) alone. It follows no redirect and refuses every address elsewhere,
so a credential cannot leave. An answer is read as a stream and never grows beyond `max_bytes`, packed or unpacked.

Status codes: https://www.rfc-editor.org/rfc/rfc9110#name-status-codes, 429: https://www.rfc-editor.org/rfc/rfc6585
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

import httpx
from pydantic import SecretStr

from connectors.contract import Clock, ConnectorError, NeedsOperator, NeedsPatient, SourceChanged, Transient

Sleep = Callable[[float], Awaitable[None]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})  # where plain http leaves nothing on a wire
MAX_BYTES = 32 * 1024 * 1024
EXCHANGE_SECONDS = 120.0  # a whole exchange: httpx limits only the silence between two chunks, and a source may trickle
_ATTEMPTS = 3
_LONGEST_PAUSE = timedelta(seconds=10)  # longer waits are the scheduler's, not this run's
_INFLATE_STEP = 1 << 16

Refusal = type[NeedsPatient] | type[NeedsOperator]

_REFUSED: dict[Refusal, str] = {
    NeedsPatient: "The source no longer accepts the sign-in ({status}): the patient must connect it again.",
    NeedsOperator: "The source refuses this installation ({status}): the operator must check its key and its rights.",
}
_ANSWERS: dict[int, tuple[type[ConnectorError], str]] = {
    404: (NeedsOperator, "The source knows no such address (404): the operator must check base_url."),
    408: (Transient, "The source gave up waiting (408): it is tried again."),
    410: (NeedsOperator, "The source has given up this address (410): the operator must check base_url."),
    425: (Transient, "The source is not ready yet (425): it is tried again."),
    429: (Transient, "The source asks for fewer requests (429): it is tried again later."),
    503: (Transient, "The source is out of service (503): it is tried again later."),
}
_ANSWER_CLASSES: dict[int, tuple[type[ConnectorError], str]] = {
    3: (NeedsOperator, "The source has moved ({status}): the operator must set base_url to its new address."),
    4: (NeedsOperator, "The source refuses the request ({status}): the operator must check the source's settings."),
    5: (Transient, "The source failed ({status}): it is tried again."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer. body is unpacked; url is the address that was asked, for resolving relative links."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def content_type(self) -> str:
        """Media type alone, in lower case, without parameters."""
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()

    @property
    def date(self) -> datetime | None:
        """The source's own clock as it answered; None where it does not tell."""
        return _http_date(self.headers.get("Date", ""))


class Credential(Protocol):
    """What lets us in. `refused` says who must act when it does not."""

    refused: Refusal

    async def headers(self) -> Mapping[str, str]:
        """The headers to send. Raises ConnectorError where none can be had."""

    def forget(self) -> bool:
        """Drop what the source refused; True where the next `headers` gets a new one without anybody's help."""


class NoCredential:
    """For a source that lets this installation in by its network or its headers."""

    refused: Refusal = NeedsOperator

    async def headers(self) -> Mapping[str, str]:
        """No headers."""
        return {}

    def forget(self) -> bool:
        """There is nothing to renew."""
        return False


class BearerToken:
    """The patient's own access token (https://www.rfc-editor.org/rfc/rfc6750)."""

    refused: Refusal = NeedsPatient

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    async def headers(self) -> Mapping[str, str]:
        """The Authorization header."""
        return {"Authorization": f"Bearer {self._token.get_secret_value()}"}

    def forget(self) -> bool:
        """Only the patient can get a new one."""
        return False


class Source:
    """GET from one origin, as Answers or ConnectorErrors."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        *,
        credential: Credential,
        clock: Clock,
        headers: Mapping[str, SecretStr] | None = None,
        max_bytes: int = MAX_BYTES,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client = client
        self._credential = credential
        self._clock = clock
        self._headers = {name: value.get_secret_value() for name, value in (headers or {}).items()}
        self._max_bytes = max_bytes
        self._sleep = sleep
        self.base = httpx.URL(base_url.rstrip("/") + "/")

    async def get(
        self, target: str | httpx.URL, params: Mapping[str, str] | None = None, *, also: frozenset[int] = frozenset()
    ) -> Answer:
        """The answer to GET target, relative to the base. also: statuses beside 2xx that are returned, without body.

        Raises ConnectorError. Waits and tries again a few times where the source is busy and says it will not be long.
        """
        url = self._own(target)
        if params:
            url = url.copy_merge_params(dict(params))
        answer = await self._patiently(url)
        if answer.status == httpx.codes.UNAUTHORIZED and self._credential.forget():
            answer = await self._patiently(url)
        if answer.status not in also:
            self._raise_unless_good(answer)
        return answer

    async def _patiently(self, url: httpx.URL) -> Answer:
        for attempt in range(_ATTEMPTS - 1):
            answer = await self._exchange(url)
            pause = self._pause(answer, attempt)
            if pause is None:
                return answer
            await self._sleep(pause)
        return await self._exchange(url)

    def _own(self, target: str | httpx.URL) -> httpx.URL:
        try:
            url = self.base.join(target)
        except httpx.InvalidURL:
            raise SourceChanged("The source gave a link that is no address.") from None
        if origin(url) != origin(self.base):
            raise NeedsOperator(
                "The source links to another address than base_url, where nothing of ours is sent: "
                "the operator must set base_url to the address by which the source names itself."
            )
        return url

    async def _exchange(self, url: httpx.URL) -> Answer:
        headers = {"Accept-Encoding": "gzip", **self._headers, **await self._credential.headers()}
        return await exchange(self._client, "GET", url, headers=headers, max_bytes=self._max_bytes)

    def _pause(self, answer: Answer, attempt: int) -> float | None:
        if answer.status not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
            return None
        asked = retry_after(answer, self._clock())
        if asked is None:
            return 2.0**attempt
        return asked.total_seconds() if asked <= _LONGEST_PAUSE else None

    def _raise_unless_good(self, answer: Answer) -> None:
        if answer.status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            refused = self._credential.refused
            raise refused(_REFUSED[refused].format(status=answer.status))
        raise_unless_good(answer, self._clock())


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port, with the scheme's default port spelled out."""
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def raise_unless_good(answer: Answer, now: datetime) -> None:
    """Raise the ConnectorError that belongs to the status, unless it is 2xx. now: for a Retry-After that is a date."""
    if 200 <= answer.status < 300:
        return
    error, message = _ANSWERS.get(answer.status) or _ANSWER_CLASSES.get(
        answer.status // 100, (SourceChanged, "The source gave an unknown answer ({status}).")
    )
    told = message.format(status=answer.status)
    raise Transient(told, retry_after(answer, now)) if error is Transient else error(told)


def retry_after(answer: Answer, now: datetime) -> timedelta | None:
    """How long the source asks us to wait, from seconds or a date; a date counts from the source's clock if it tells.

    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    value = answer.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 8:
        return timedelta(seconds=int(value))
    until = _http_date(value)
    return None if until is None else max(until - (answer.date or now), timedelta(0))


def _http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


async def exchange(
    client: httpx.AsyncClient,
    method: str,
    url: httpx.URL,
    *,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None = None,
    content: bytes | None = None,
    max_bytes: int = MAX_BYTES,
    seconds: float | None = None,
    server_name: str | None = None,
) -> Answer:
    """One request and its answer, of whatever status; only a 2xx is read. Redirects are not followed.

    server_name: whom the certificate must name, where it is not the URL's host. Raises Transient where the connection
    fails or takes too long, NeedsOperator where the answer is too large.
    """
    asked = dict(form) if form is not None else None
    named = {"sni_hostname": server_name} if server_name else {}
    try:
        async with (
            asyncio.timeout(seconds or EXCHANGE_SECONDS),
            client.stream(
                method,
                url,
                headers=dict(headers),
                data=asked,
                content=content,
                extensions=named,
                follow_redirects=False,
            ) as response,
        ):
            body = await _body(response, max_bytes) if response.is_success else b""
    except (TimeoutError, httpx.TimeoutException):
        raise Transient("The source did not answer in time: it is tried again.") from None
    except httpx.UnsupportedProtocol:
        raise NeedsOperator("The source's address is neither http nor https: the operator must correct it.") from None
    except httpx.HTTPError:
        raise Transient("The connection to the source failed or broke off: it is tried again.") from None
    return Answer(url=url, status=response.status_code, headers=response.headers, body=body)


def _is_too_much(size: int, most: int) -> bool:
    return size > most


async def _body(response: httpx.Response, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in _unpacked(response):
        size += len(part)
        if _is_too_much(size, max_bytes):
            raise NeedsOperator(
                f"The source answers with more than {max_bytes >> 20} MB in one page: "
                "the operator must set a smaller page_size."
            )
        parts.append(part)
    return b"".join(parts)


async def _unpacked(response: httpx.Response) -> AsyncIterator[bytes]:
    # httpx would unpack a whole network chunk at once; a small chunk can hold gigabytes.
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing == "identity":
        async for chunk in response.aiter_bytes():
            yield chunk
    elif packing in ("gzip", "x-gzip"):
        async for chunk in _inflated(response.aiter_raw()):
            yield chunk
    else:
        raise SourceChanged("The source packs its answers in a way it was not asked for.")


async def _inflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        async for chunk in chunks:
            rest = chunk
            while rest and not gzip.eof:
                yield gzip.decompress(rest, _INFLATE_STEP)
                rest = gzip.unconsumed_tail
    except zlib.error:
        raise SourceChanged("The source's answer does not unpack.") from None
    yield gzip.flush()
    if not gzip.eof:
        raise Transient("The source's answer was cut off: it is tried again.")
