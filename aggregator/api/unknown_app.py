"""For a browser that an unknown app has sent: a page in German and English that leads nowhere."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="de">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Unbekannte App · Unknown app</title>
</head>
<body>
<main>
<section lang="de">
<h1>Unbekannte App</h1>
<p>Eine App wollte auf Ihre Akte zugreifen, ist hier aber nicht bekannt. Es ist nichts geschehen.</p>
</section>
<section lang="en">
<h1>Unknown app</h1>
<p>An app wanted access to your record, but is not known here. Nothing has happened.</p>
<p>For developers: client_id is not registered, or redirect_uri is not exactly one that it is registered with.</p>
</section>
</main>
</body>
</html>
"""
