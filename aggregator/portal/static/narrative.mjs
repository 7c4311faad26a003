// A patient summary for people: its sections' narrative, or what a resource calls itself. The browser never parses what
// was received: tags are told apart here, and what is known of them is built anew from names and text.
// https://hl7.org/fhir/R4/narrative.html#security

const KEPT = new Set(["p", "table", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li", "b", "i", "strong", "em", "br"]);
const SILENT = new Set(["script", "style"]);
const EMPTY = new Set(["br"]);
const DEEPEST = 12;
const TOKEN = /<!--.*?-->|<(\/?)([a-z]\w*)((?:"[^"]*"|'[^']*'|[^"'<>])*)>|([^<]+)|</gis;
const ENTITY = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w+));/gi;
const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/** Put a Bundle's content below an element of the page. file: its JSON, which is also what is saved. */
export function show(file, below, words) {
  const bundle = JSON.parse(file, asWritten);
  const resources = (bundle.entry ?? []).map(entry => entry.resource);
  const patient = resources.find(one => one.resourceType === "Patient");
  if (patient) below.append(person(patient, words));
  const composition = bundle.type === "document" ? resources[0] : null;
  if (composition?.resourceType === "Composition") for (const one of composition.section ?? []) section(one, below);
  else list(resources, below, words);
  const save = document.getElementById("save");
  save.href = URL.createObjectURL(new Blob([file], { type: "application/fhir+json" }));
  document.getElementById("after").hidden = false;
}

/** FHIR gives the digits of a number a meaning: 0.40 is not 0.4. Older browsers do not tell them. */
function asWritten(_, value, context) {
  return typeof value === "number" && context?.source ? context.source : value;
}

function person(patient, words) {
  const name = patient.name?.[0] ?? {};
  const written = name.text ?? [...(name.given ?? []), name.family ?? ""].join(" ").trim();
  return element("p", [written || words.nameless, patient.birthDate].filter(Boolean).join(", "), "who");
}

function section(one, below) {
  below.append(element("h2", one.title ?? ""));
  const block = document.createElement("div");
  block.className = "section";
  copy(typeof one.text?.div === "string" ? one.text.div : "", block);
  below.append(block);
}

/** Known elements without their attributes, and all text; of others the text alone, of scripts and styles nothing. */
function copy(div, block) {
  const open = [block];
  let silent = "";
  for (const [, closing, name = "", inside = "", text] of div.matchAll(TOKEN)) {
    const tag = name.toLowerCase();
    const whole = inside.endsWith("/") || EMPTY.has(tag);
    if (silent) silent = closing && tag === silent ? "" : silent;
    else if (text) open.at(-1).append(plain(text));
    else if (SILENT.has(tag)) silent = closing || whole ? "" : tag;
    else if (KEPT.has(tag) && closing) close(open, tag);
    else if (KEPT.has(tag) && open.length <= DEEPEST) {
      const made = document.createElement(tag);
      open.at(-1).append(made);
      if (!whole) open.push(made);
    }
  }
}

/** What was never opened closes nothing. */
function close(open, tag) {
  const at = open.findLastIndex(one => one.localName === tag);
  if (at > 0) open.length = at;
}

/** Text with its entities read. */
function plain(text) {
  return text.replace(ENTITY, (written, decimal, hex, name) => {
    if (name) return NAMED[name] ?? written;
    const point = decimal ? Number(decimal) : parseInt(hex, 16);
    return point <= 0x10ffff ? String.fromCodePoint(point) : written;
  });
}

function list(resources, below, words) {
  const lines = document.createElement("ul");
  for (const one of resources) if (one.resourceType !== "Patient") lines.append(element("li", line(one, words)));
  below.append(lines);
}

function line(one, words) {
  const concept = one.code ?? one.vaccineCode ?? one.medicationCodeableConcept ?? one.type?.[0] ?? one.type ?? {};
  const named = concept.text ?? concept.coding?.[0]?.display ?? concept.coding?.[0]?.code;
  const called = named ?? (typeof one.name === "string" ? one.name : one.name?.[0]?.family);
  const value = one.valueQuantity ? `${one.valueQuantity.value} ${one.valueQuantity.unit ?? ""}` : one.valueString;
  const day = (one.effectiveDateTime ?? one.onsetDateTime ?? one.occurrenceDateTime ?? one.recordedDate)?.slice(0, 10);
  return [day, words[one.resourceType] ?? one.resourceType, called, value].filter(Boolean).join(" · ");
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
