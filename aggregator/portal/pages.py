"""All pages of one installation, under /app beside the app's JSON routes, which no cookie opens."""

from __future__ import annotations

from fastapi import APIRouter

from aggregator.api.access import Access
from aggregator.api.caller import Callers
from aggregator.api.desk import Desk
from aggregator.api.service import Service
from aggregator.identity.turns import Turns
from aggregator.portal.access import AccessPages
from aggregator.portal.authorize import AuthorizePages
from aggregator.portal.bring import BringPages
from aggregator.portal.devices import DevicesPages
from aggregator.portal.frame import Frame
from aggregator.portal.home import HomePages
from aggregator.portal.receipts import ReceiptPages
from aggregator.portal.requests import RequestPages
from aggregator.portal.share import SharePages
from aggregator.portal.sign_in import SignInPages
from aggregator.portal.sign_up import SignUpPages
from aggregator.portal.ways_in import WaysInPages
from aggregator.portal.what_if import WhatIfPages


def router(service: Service, callers: Callers, access: Access, turns: Turns) -> APIRouter:
    """FastAPI's router. A page is added here, and to the rooms that home lists (`home.ROOMS`)."""
    frame, desk = Frame(service, callers, turns), Desk(service, access)
    made = APIRouter()
    for pages in (
        HomePages(frame, service, desk),
        AccessPages(frame, desk),
        RequestPages(frame, desk),
        WhatIfPages(frame, desk, service.table.sensitive),
        ReceiptPages(frame, desk),
        SignInPages(frame),
        SignUpPages(frame, service, callers, turns),
        AuthorizePages(frame, service, access),
        DevicesPages(frame, service, callers),
        SharePages(frame, service),
        BringPages(frame, service, access),
        WaysInPages(frame, service, callers, turns),
    ):
        made.include_router(pages.router())
    made.add_api_route("/app/static/{version}/{name}", frame.static.answer, methods=["GET"])
    return made
