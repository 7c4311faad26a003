"""What whoever opens an exported folder reads first."""

README = """\
IHRE AKTE

In diesem Ordner liegt Ihre ganze Patientenakte, lesbar und nicht verschlüsselt. Wer den Ordner hat, kann alles lesen:
Bewahren Sie ihn auf wie die Schlüssel zu Ihrer Wohnung, und löschen Sie ihn, wenn Sie ihn nicht mehr brauchen.

  fhir/          der heutige Stand, eine Datei je Art von Eintrag (FHIR R4, eine Zeile je Eintrag)
  history/       frühere Fassungen, und was beendet wurde
  provenance/    woher jeder Eintrag kommt: Zeile fuer Zeile wie in fhir/
  attachments/   Dokumente und Bilder; der Name beginnt mit der Kennung des Eintrags "Binary", zu dem sie gehören
  originals/     was nicht übernommen werden konnte, so wie es kam, und warum
  consents/      Ihre Einwilligungen und was sie wem geöffnet haben, Fassung fuer Fassung
  receipts/      wer wann was gelesen hat (entries.ndjson), und die Kette, mit der sich prüfen laesst, dass nichts fehlt
  keys.json      was eine neue Installation braucht, damit nichts doppelt ankommt. Kein Schlüssel zu Ihrer Akte
  manifest.json  was alles dazugehört, mit Prüfsummen

Mitnehmen: der neue Betreiber ruft auf:  aggregator import ORDNER --login NEUER-NAME
Danach gelten Ihre Einwilligungen erst wieder, wenn Sie sie dort unterschreiben, und Ihre Quellen verbinden Sie neu.


YOUR RECORD

This folder holds your whole record, readable and not sealed. Whoever has the folder can read everything: keep it as you
keep the keys to your home, and delete it when you no longer need it.

  fhir/          as it is today, a file for each kind of entry (FHIR R4, one line an entry)
  history/       earlier versions, and what has ended
  provenance/    where each entry comes from: line for line as in fhir/
  attachments/   documents and pictures; a name begins with the id of the "Binary" that it belongs to
  originals/     what could not be taken, as it came, and why
  consents/      your consents and what they opened to whom, version by version
  receipts/      who read what and when (entries.ndjson), and the chain that shows that nothing is missing
  keys.json      what a new installation needs so that nothing arrives twice. No key to your record
  manifest.json  all that belongs to it, with checksums

To take it along, the new operator runs:  aggregator import FOLDER --login NEW-NAME
After that your consents count again once you sign them there, and you connect your sources anew.

The form of every file is described in aggregator/portability/FORMAT-EXPORT.md of the program.
"""
