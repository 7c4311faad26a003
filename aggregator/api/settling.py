"""After a sign-in: the keys are changed that had to wait for the owner, and live links show the record as it is now."""

from __future__ import annotations

import asyncio
import logging

from aggregator.api.service import Service
from aggregator.errors import RolledBack, Stale, Tampered
from aggregator.identity.accounts import Owner

logger = logging.getLogger(__name__)


async def settled(service: Service, owner: Owner) -> Owner:
    """The owner, once the keys were changed that had to be; where they could not be, the next sign-in tries again.

    A vault that was tampered with is theirs to see, and one that another session moves meanwhile stops nobody.
    """
    try:
        await asyncio.to_thread(service.grants.settle, owner)
        await asyncio.to_thread(service.shares.renew, owner)
    except (Tampered, RolledBack, Stale) as error:
        logger.warning("sign-in: what waits for a vault's owner could not be done: %s", error)
    return owner
