// Opens a SMART Health Link of this service: what stands behind the # is read here and sent nowhere.
// https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html

import { show } from "./narrative.mjs";

const SCHEME = "shlink:/";
const NAME = /^[\w-]{43}$/;
const MOST = 20_000_000; // bytes of a file, unpacked

const words = JSON.parse(document.getElementById("words").textContent);
const ask = document.getElementById("ask");
const told = document.getElementById("told");

const link = parse(location.hash);
history.replaceState(null, "", location.pathname); // the key stays in no history and is on no printed page

if (link === null) tell("no_link");
else {
  if (link.label) document.getElementById("label").textContent = link.label;
  document.getElementById("passcode-field").hidden = !link.flag.includes("P");
  document.getElementById("passcode").required = link.flag.includes("P");
  ask.hidden = false;
  told.textContent = words.first;
  ask.addEventListener("submit", event => {
    event.preventDefault();
    open(new FormData(ask)).catch(() => tell("damaged"));
  });
}

/** The link's payload; null for what is none, or leads to another house: this page asks this one alone. */
function parse(hash) {
  try {
    const text = hash.slice(hash.indexOf(SCHEME) + SCHEME.length);
    const payload = JSON.parse(new TextDecoder().decode(bytes(text)));
    const url = new URL(payload.url);
    const [, name] = url.pathname.split("/shl/");
    const sound = url.origin === location.origin && NAME.test(name) && bytes(payload.key).length === 32;
    return sound ? { name, key: bytes(payload.key), flag: payload.flag ?? "", label: payload.label ?? "" } : null;
  } catch {
    return null;
  }
}

async function open(form) {
  tell("opening");
  const answer = await request(form);
  if (answer.status === 401) {
    const { remainingAttempts } = await answer.json();
    return tell(remainingAttempts ? "wrong_passcode" : "no_link", remainingAttempts);
  }
  if (answer.status !== 200) return tell(answer.status === 404 ? "no_link" : "again");
  const jwe = link.flag.includes("U") ? await answer.text() : (await answer.json()).files[0].embedded;
  const file = new TextDecoder().decode(await decrypt(jwe));
  ask.hidden = true;
  tell("opened");
  show(file, document.getElementById("shown"), words);
}

function request(form) {
  const recipient = form.get("recipient").trim();
  if (link.flag.includes("U")) return fetch(`/shl/${link.name}?${new URLSearchParams({ recipient })}`);
  const passcode = link.flag.includes("P") ? { passcode: form.get("passcode") } : {};
  return fetch(`/shl/${link.name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ recipient, ...passcode }),
  });
}

/** JWE in compact form, alg dir, enc A256GCM: https://www.rfc-editor.org/rfc/rfc7516 */
async function decrypt(jwe) {
  const [top, wrapped, nonce, box, tag] = jwe.split(".");
  const header = JSON.parse(new TextDecoder().decode(bytes(top)));
  if (header.alg !== "dir" || header.enc !== "A256GCM" || wrapped) throw new Error("another cipher");
  const key = await crypto.subtle.importKey("raw", link.key, "AES-GCM", false, ["decrypt"]);
  const sealed = new Uint8Array([...bytes(box), ...bytes(tag)]);
  const bound = { name: "AES-GCM", iv: bytes(nonce), additionalData: new TextEncoder().encode(top) };
  const plain = await crypto.subtle.decrypt(bound, key, sealed);
  return header.zip === "DEF" ? inflate(plain) : plain;
}

async function inflate(packed) {
  const parts = [];
  let size = 0;
  for await (const part of new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"))) {
    size += part.length;
    if (size > MOST) throw new Error("too long");
    parts.push(part);
  }
  return new Blob(parts).arrayBuffer();
}

function bytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, character => character.charCodeAt(0));
}

function tell(key, number) {
  told.textContent = words[key].replace("{number}", number ?? "");
  told.focus();
}
