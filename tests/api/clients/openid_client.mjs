// What openid-client does against the service: https://github.com/panva/openid-client#authorization-code-flow
// Reads what it is given from stdin, prints what it was told. The patient's browser is played by fetch.

import * as oauth from "openid-client";
import { json } from "node:stream/consumers";

const given = await json(process.stdin);
const execute = [oauth.allowInsecureRequests]; // the service under test speaks plain HTTP on this machine
const metadata = { [oauth.clockSkew]: given.now - Math.floor(Date.now() / 1000) };
const config = await oauth.discovery(new URL(given.issuer), given.client, metadata, oauth.None(), { execute });

async function approved(url) {
  const asked = await fetch(url, { redirect: "manual" });
  const handle = new URL(asked.headers.get("location")).searchParams.get("request");
  const headers = { authorization: `Bearer ${given.owner}`, "content-type": "application/json" };
  const answer = await fetch(`${given.issuer}/app/authorizations/${handle}`, { method: "POST", headers, body: "{}" });
  return new URL((await answer.json()).redirect);
}

async function launch(parameters, options, build) {
  const pkceCodeVerifier = oauth.randomPKCECodeVerifier();
  const [expectedState, expectedNonce] = [oauth.randomState(), oauth.randomNonce()];
  const url = await build(config, {
    redirect_uri: given.redirect,
    scope: given.scope,
    aud: given.base,
    code_challenge: await oauth.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state: expectedState,
    nonce: expectedNonce,
    ...parameters,
  }, options);
  const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true };
  return oauth.authorizationCodeGrant(config, await approved(url), checks, undefined, options);
}

async function found(tokens, options) {
  const url = new URL(`${given.base}/Observation?patient=${tokens.patient ?? given.patient}`);
  const read = await oauth.fetchProtectedResource(config, tokens.access_token, url, "GET", undefined, undefined, options);
  return (await read.json()).total;
}

const first = await launch({}, undefined, oauth.buildAuthorizationUrl);
const second = await oauth.refreshTokenGrant(config, first.refresh_token);
const counts = [await found(first), await found(second)];
await oauth.tokenRevocation(config, second.refresh_token);
const ended = await oauth.refreshTokenGrant(config, second.refresh_token).catch((error) => error.error);

const DPoP = oauth.getDPoPHandle(config, await oauth.randomDPoPKeyPair("ES256"));
const bound = await launch({}, { DPoP }, oauth.buildAuthorizationUrlWithPAR);
const again = await oauth.refreshTokenGrant(config, bound.refresh_token, undefined, { DPoP });

console.log(
  JSON.stringify({
    fhirUser: first.claims().fhirUser,
    scope: first.scope,
    counts,
    ended,
    types: [first.token_type, bound.token_type, again.token_type],
    bound: [await found(bound, { DPoP }), await found(again, { DPoP })],
    patient: bound.patient,
  }),
);
