"""A link as a QR code, drawn as SVG: error correction level M, as the specification recommends.

https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html#sharing-user-transmits-a-smart-health-link
"""

from __future__ import annotations

import segno


def svg(text: str) -> str:
    """One `<svg>` element, with a quiet zone of four modules, dark on light whatever is around it."""
    drawn: str = segno.make(text, error="m", micro=False, boost_error=False).svg_inline(
        border=4, light="#ffffff", dark="#000000", omitsize=True
    )
    return drawn
