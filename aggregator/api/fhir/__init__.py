"""/fhir: the directory is the table of contents of https://hl7.org/fhir/R4/http.html. No route decides about access.

    interaction     an interaction, or an operation, as data: what FHIR calls it, its method, its path, what answers it
    server          what every interaction works with: the caller, the query, the links, the answer as FHIR
    formats         the form of an answer: JSON or XML
    condition       who has the newest version already; preference: what a caller likes better
    content  data   a resource on its way in; a long Binary on its way out
    table           all of them in one table, from which come the routes and the CapabilityStatement
    router          which of them a request asks for, and what none of them answers

    metadata        capabilities; SMART's discovery document
    read  search  history  binary  group
    everything  patient_summary  last_n  docref  validate  bulk     operations; operation: what they share
    create  update  patch  delete  transaction  consent  patient    writing: what they share; inner: an entry of a batch

A new interaction is a module of its own. It declares what it does and imports no other of its kind:

    INTERACTIONS = (Interaction(code="read", method="GET", path=ONE, endpoint=read),)

    async def read(server: Server, request: Request) -> Response:
        '''https://hl7.org/fhir/R4/http.html#read'''
        act = Act("read", resource_type, ...)                       # what the receipt will say
        principal = await server.principal(request, act, "r", vault)
        answer = await server.access.answer(principal, vault, act, lambda view: ...)
        return fhir(answer.body)

and gets one line in `table.py`, where the first that fits answers. What it works out from a view lies in
`aggregator.fhir`, which knows no HTTP.
"""
