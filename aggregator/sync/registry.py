"""Which connectors may run: entry points, loaded only when the configuration names them (installed is not trusted)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from aggregator.config import SourceSettings
from aggregator.errors import CallerError, OperatorError
from aggregator.sync.verification import Level
from connectors.contract import CONTRACT_VERSION, Client, Clock, Connector, ConnectorSpec, Kind, Settings

GROUP = "aggregator.connectors"


@dataclass(frozen=True)
class Source:
    """A configured source: the authority's name, the operator's settings, and the connector that speaks to it."""

    authority: str
    settings: SourceSettings
    spec: ConnectorSpec[Any]

    @cached_property
    def interval(self) -> float:
        """Seconds between pulls: the operator's wish, never below the connector's own least."""
        return max(self.settings.interval_minutes * 60.0, self.spec.min_interval.total_seconds())

    @property
    def is_feed(self) -> bool:
        return self.spec.kind is Kind.FEED

    @property
    def identity_level(self) -> Level:
        """How sure a feed wants to be of who a patient is."""
        return Level(self.settings.identity_level)

    @property
    def title(self) -> str:
        return self.settings.title or self.authority

    def connector(self, account: Mapping[str, Any], client: Client, clock: Clock) -> Connector:
        """The connector for one account (a feed has none). Raises OperatorError, CallerError."""
        return self.spec.connect(self.check(account), client, clock)

    def check(self, account: Mapping[str, Any]) -> Settings:
        """Operator's and account's settings together. The error names settings, never their values nor the source.

        It may be stored beside a connection and logged, and the name of a clinic can be a diagnosis.
        """
        if unknown := set(account) - self.spec.account:
            raise CallerError(f"account: {', '.join(sorted(unknown))} is not a setting of an account")
        try:
            made: Settings = self.spec.config(**{**self.settings.settings, **account})
        except ValidationError as error:
            raise self._explain(error) from None
        return made

    def check_operators(self) -> None:
        """The operator's settings by themselves, before any patient connects. Raises OperatorError."""
        try:
            self.spec.config(**self.settings.settings)
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False, include_context=False)
            mine = [one for one in problems if not one["loc"] or one["loc"][0] not in self.spec.account]
            if mine:
                text = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in mine)
                raise OperatorError(f"sources.{self.authority}.settings: {text}") from None

    def _explain(self, error: ValidationError) -> OperatorError | CallerError:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        names = {str(problem["loc"][0]) for problem in problems if problem["loc"]}
        text = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        if names and names <= self.spec.account:
            return CallerError(f"account: {text}")
        return OperatorError(f"the source's settings: {text}")


class Registry:
    """The configured sources by authority. Raises OperatorError for a missing connector or a wrong setting."""

    def __init__(self, sources: Mapping[str, SourceSettings]) -> None:
        self._sources = {name: Source(name, settings, load(settings.connector)) for name, settings in sources.items()}
        for source in self._sources.values():
            source.check_operators()

    def __iter__(self) -> Iterator[Source]:
        return iter(self._sources.values())

    def find(self, authority: str) -> Source | None:
        """The source of this name, if it is configured."""
        return self._sources.get(authority)

    def source(self, authority: str) -> Source:
        """Raises OperatorError for a name that is not configured; it names none: patients may come to read it."""
        found = self.find(authority)
        if found is None:
            raise OperatorError("there is no source of that name in the settings")
        return found


def installed() -> list[str]:
    """The names of all connectors that are installed, loaded or not."""
    return sorted({point.name for point in entry_points(group=GROUP)})


@cache
def load(name: str) -> ConnectorSpec[Any]:
    """Load one connector by its entry point. Raises OperatorError."""
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if not points:
        raise OperatorError(f"no connector {name!r} is installed; installed: {', '.join(installed())}")
    spec = points[0].load()
    if not isinstance(spec, ConnectorSpec) or spec.contract_version != CONTRACT_VERSION:
        raise OperatorError(f"connector {name!r} was written for another version of the contract")
    return spec
