// What fhir-kit-client does against the service: https://github.com/Vermonster/fhir-kit-client#usage
// Reads what it is given from stdin, prints what it was told.

import { Client } from "fhir-kit-client";
import { json } from "node:stream/consumers";

const given = await json(process.stdin);
const client = new Client({ baseUrl: given.base, bearerToken: given.token });
const resourceType = "Observation";
const shown = (resource) => [resource.meta.versionId, resource.valueQuantity.value];
const status = (promise) => promise.then(() => 200, (error) => error.response.status);

const created = await client.create({ resourceType, body: given.observation });
const id = created.id;
const read = await client.read({ resourceType, id });
const changed = { ...read, valueQuantity: { value: 0.5 } };
const updated = await client.update({ resourceType, id, body: changed });
const found = await client.search({ resourceType, searchParams: given.search, options: { postSearch: true } });

const paged = [];
let page = await client.search({ resourceType, searchParams: { _count: 2 } });
while (page) {
  paged.push(...page.entry.map((entry) => entry.resource.id));
  page = await client.nextPage({ bundle: page });
}

const together = await client.transaction({ body: given.transaction });
await client.delete({ resourceType, id });
const gone = await status(client.read({ resourceType, id }));
const history = await client.history({ resourceType, id });

// Files of NDJSON this client does not read: it parses every answer as JSON.
const provider = new Client({ baseUrl: given.base, bearerToken: given.provider });
const options = { headers: { Prefer: "respond-async" } };
const started = await provider.operation({ name: "export", resourceType: "Patient", method: "GET", options });
const place = Client.httpFor(started).response.headers.get("content-location");
let manifest = await provider.request(place);
while (Client.httpFor(manifest).response.status === 202) manifest = await provider.request(place);
await provider.request(place, { method: "DELETE" });

console.log(
  JSON.stringify({
    created: shown(created),
    read: shown(read),
    updated: shown(updated),
    found: found.entry.map((entry) => shown(entry.resource)),
    paged,
    together: together.entry.map((entry) => entry.response.status),
    gone: gone === 410,
    history: history.entry.map((entry) => entry.request.method),
    exported: Object.fromEntries(manifest.output.map((file) => [file.type, file.count])),
  }),
);
