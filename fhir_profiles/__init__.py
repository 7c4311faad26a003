"""What a valid FHIR R4 resource is. Imports nothing of the rest.

text        JSON with its numbers as written
structure   the types of R4 and their elements, from the tables in codes/
check       resource -> issues; walk, members, primitives, invariants and narrative are its parts
xml         FHIR XML <-> JSON
build       pieces of resources; codes names the systems
model       the only door to fhir.resources
profiles    our own definitions
"""
