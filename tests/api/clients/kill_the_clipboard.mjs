// Vinta Software's client of SMART Health Links, unmodified: opens links as a practice's software would.
import { SHLViewer } from 'kill-the-clipboard';

async function opened({ link, ...asked }) {
  const viewer = new SHLViewer({ shlinkURI: link });
  try {
    const { fhirResources } = await viewer.resolveSHL({ recipient: 'Praxis am Markt', ...asked });
    return { label: viewer.shl.label, resources: fhirResources };
  } catch (error) {
    return { error: error.constructor.name, message: error.message };
  }
}

let given = '';
for await (const part of process.stdin) given += part;
const told = [];
for (const one of JSON.parse(given)) told.push(await opened(one));
process.stdout.write(JSON.stringify(told));
