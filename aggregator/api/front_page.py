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
<p>Hier liegt Ihre Akte verschlossen. Sie lesen sie mit einer App, die FHIR spricht; Ihre Ärztinnen und Ärzte lesen
nur, was Sie erlauben.</p>
<p>Die Adresse für Ihre App: <code>$base/fhir</code></p>
<p>Diese Fassung hat noch keine eigenen Seiten zum Blättern in der Akte.</p>
</section>
<section lang="en">
<h1>My health record</h1>
<p>Your record lies here, sealed. You read it with an app that speaks FHIR; your doctors read only what you allow.</p>
<p>The address for your app: <code>$base/fhir</code></p>
<p>This version has no pages of its own yet to browse the record.</p>
</section>
<p><a href="$base/fhir/metadata">CapabilityStatement</a> ·
<a href="$base/fhir/.well-known/smart-configuration">SMART</a></p>
</main>
</body>
</html>
""")


def front_page(base_url: str) -> str:
    """The page's HTML. The address is the operator's setting."""
    return _PAGE.substitute(base=base_url)
