"""/app in a browser: what this is and where to go on, in German and English. Holds no health data and asks for none."""

from __future__ import annotations

from string import Template

_PAGE = Template("""<!doctype html>
<html lang="de">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Meine Gesundheitsakte · My health record</title>
</head>
<body>
<main>
<section lang="de">
<h1>Meine Gesundheitsakte</h1>
<p>Hier liegt Ihre Akte verschlossen. Ihre Ärztinnen und Ärzte lesen nur, was Sie erlauben.</p>
<p>Sie selbst lesen Ihre Akte mit einer App. Tragen Sie dort diese Adresse ein: <code>$base/fhir</code></p>
<p>Hier auf dieser Seite können Sie Ihre Akte noch nicht lesen.</p>
</section>
<section lang="en">
<h1>My health record</h1>
<p>Your record lies here, sealed. Your doctors read only what you allow.</p>
<p>You read your record with an app. Enter this address there: <code>$base/fhir</code></p>
<p>You cannot read your record on this page yet.</p>
</section>
<p>Für Entwickler / for developers: <a href="$base/fhir/metadata">CapabilityStatement</a> ·
<a href="$base/fhir/.well-known/smart-configuration">SMART</a></p>
</main>
</body>
</html>
""")


def front_page(base_url: str) -> str:
    """The page's HTML. The address is the operator's setting."""
    return _PAGE.substitute(base=base_url)
