"""A small FHIR R4 server, kept in memory: what the demo's clinic and insurer have in common.

    compartment  which patient a resource is about
    store        versions and indexes
    references   links inside a Bundle and conditional references become ids
    bundle       transaction, batch and the other Bundles are taken in
    search       search parameters, history, pages
    access       who may read and write: bearer tokens, SMART backend services
    capability   what the server says of itself
    server       the store behind its HTTP routes
    refused      why a request was not done, as OperationOutcome

It stores what it is given: like many a real server it checks no profile and no data type, so that what is wrong with a
resource is found by the one who fetches it.
"""
