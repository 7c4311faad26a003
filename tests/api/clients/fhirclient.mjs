// What SMART's fhirclient does against the service: https://docs.smarthealthit.org/client-js/
// Reads what it is given from stdin, prints what it was told. A script is asked by nobody, so it has no request.

import smart from "fhirclient";
import { json } from "node:stream/consumers";

const given = await json(process.stdin);
const signedIn = (token) => smart({}, {}).client({ serverUrl: given.base, tokenResponse: { access_token: token } });
const client = signedIn(given.token);
const shown = (resource) => [resource.meta.versionId, resource.valueQuantity.value];
const status = (promise) => promise.then(() => 200, (error) => error.status);
const everyPage = { pageLimit: 0, flat: true };

const created = await client.create(given.observation);
const place = `Observation/${created.id}`;
const read = await client.request(place);
const updated = await client.update({ ...read, valueQuantity: { value: 0.5 } });
const found = await client.request(`Observation?${new URLSearchParams(given.search)}`, { flat: true });
const paged = await client.request("Observation?_count=2", everyPage);
const body = JSON.stringify(given.transaction);
const headers = { "content-type": "application/fhir+json" };
const together = await client.request({ url: "/", method: "POST", body, headers });
await client.delete(place);
const gone = await status(client.request(place));
const history = await client.request(`${place}/_history`);

const provider = signedIn(given.provider);
const asked = { url: "Patient/$export", headers: { prefer: "respond-async" }, includeResponse: true };
const url = (await provider.request(asked)).response.headers.get("content-location");
let told = await provider.request({ url, includeResponse: true });
while (told.response.status === 202) told = await provider.request({ url, includeResponse: true });
const exported = {};
for (const file of told.body.output) {
  const lines = await (await provider.request(file.url)).text();
  exported[file.type] = lines.split("\n").filter((line) => line && JSON.parse(line)).length;
}
await provider.delete(url);

console.log(
  JSON.stringify({
    created: shown(created),
    read: shown(read),
    updated: shown(updated),
    found: found.map(shown),
    paged: paged.map((resource) => resource.id),
    together: together.entry.map((entry) => entry.response.status),
    gone: gone === 410,
    history: history.entry.map((entry) => entry.request.method),
    exported,
  }),
);
