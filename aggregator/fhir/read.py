"""read: one current resource by its id. https://hl7.org/fhir/R4/http.html#read."""

from __future__ import annotations

from aggregator.fhir.outcome import Gone, NotFound
from aggregator.fhir.view import View, local_id
from aggregator.vault.image import Record


def read(view: View, resource_type: str, whole_id: str) -> Record:
    """The record, whose `body` is the answer and whose version and time make ETag and Last-Modified.

    Raises Gone for one that was deleted from this view, NotFound for everything else, hidden or never there.
    """
    local = local_id(view, whole_id)
    if local is None:
        raise NotFound
    record = view.image.read(resource_type, local)
    if record is not None:
        return record
    raise Gone if view.image.gone(resource_type, local) else NotFound
