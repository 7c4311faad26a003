// Passkeys with the PRF extension, whose output is the secret that opens the record.
// https://www.w3.org/TR/webauthn-3/#prf-extension
//
// [data-passkey] in a form is shown only where a browser has passkeys. What the authenticator answers goes into the
// hidden fields there, as PublicKeyCredential.toJSON() would give it (older browsers do not), and the form is sent.
// Options come from the server: in data-create and data-get, or, for signing in, when they are needed.

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));

const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const descriptors = (told = []) => told.map((one) => ({ ...one, id: bytes(one.id) }));

// The options of WebAuthn's JSON form, as navigator.credentials takes them.
function options(told) {
  const first = bytes(told.extensions.prf.eval.first);
  const made = { ...told, challenge: bytes(told.challenge), extensions: { prf: { eval: { first } } } };
  if (told.user) made.user = { ...told.user, id: bytes(told.user.id) };
  if (told.excludeCredentials) made.excludeCredentials = descriptors(told.excludeCredentials);
  if (told.allowCredentials) made.allowCredentials = descriptors(told.allowCredentials);
  return made;
}

// What an authenticator answered. PRF: only its first result, and only if there is one.
function answered(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = text(credential.response[name]);
  }
  const first = credential.getClientExtensionResults().prf?.results?.first;
  const clientExtensionResults = first ? { prf: { results: { first: text(first) } } } : {};
  const { id, type } = credential;
  return JSON.stringify({ id, rawId: text(credential.rawId), type, response, clientExtensionResults });
}

async function signInOptions() {
  const answer = await fetch("/auth/passkey/options", { method: "POST" });
  if (!answer.ok) throw new Error("no options");
  return answer.json();
}

async function ask(place) {
  const field = (name) => place.querySelector(`input[name="${name}"]`);
  const { create, get } = place.dataset;
  if (create) {
    const made = await navigator.credentials.create({ publicKey: options(JSON.parse(create)) });
    field("registration").value = answered(made);
  }
  const told = get ? JSON.parse(get) : await signInOptions();
  const used = await navigator.credentials.get({ publicKey: options(told) });
  field("unlock_assertion").value = answered(used);
  place.closest("form").submit();
}

// A passkey belongs to a host's name: an address in numbers has none.
const possible = window.PublicKeyCredential && !/^[\d.]+$|:/.test(location.hostname);

for (const note of document.querySelectorAll("[data-no-passkey]")) note.hidden = possible;

for (const place of document.querySelectorAll("[data-passkey]")) {
  if (!possible) continue;
  const problem = place.querySelector(".problem");
  place.hidden = false;
  place.querySelector("button").addEventListener("click", () => {
    problem.hidden = true;
    ask(place).catch(() => { problem.hidden = false; });
  });
}
