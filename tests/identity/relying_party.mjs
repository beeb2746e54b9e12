// A relying party on the npm client openid-client: node relying_party.mjs ISSUER LOGIN PASSWORD
// Discovery, PAR, PKCE, DPoP, refresh rotation; then what must be refused. One JSON line at the end.
import * as client from 'openid-client'

const [issuer, login, password] = process.argv.slice(2)
const redirect = 'http://127.0.0.1:9/callback'
const cookies = new Map()

async function visit(url, form) {
  for (;;) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form && new URLSearchParams(form),
      headers: { cookie },
      redirect: 'manual',
    })
    for (const line of answer.headers.getSetCookie()) {
      const [name, ...value] = line.split(';')[0].split('=')
      cookies.set(name, value.join('='))
    }
    const location = answer.headers.get('location')
    if (!location) return { page: await answer.text() }
    url = new URL(location, issuer)
    if (url.origin !== issuer) return { callback: url }
    form = undefined
  }
}

const plain = (text) => text.replaceAll('&amp;', '&').replaceAll('&#39;', "'").replaceAll('&#34;', '"')

async function browse(url) {
  const first = await visit(url)
  if (first.callback) return first.callback
  const hidden = [...first.page.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)"/g)]
  const fields = Object.fromEntries(hidden.map(([, name, value]) => [name, plain(value)]))
  const second = await visit(new URL('/oauth2/login', issuer), { ...fields, login, password })
  if (!second.callback) throw new Error('the sign-in did not lead back to the client')
  return second.callback
}

async function refusal(work) {
  try {
    await work()
  } catch (error) {
    return error.error ?? error.code ?? error.message
  }
  return 'accepted'
}

const config = await client.discovery(new URL(issuer), 'demo-app', undefined, client.None(), {
  execute: [client.allowInsecureRequests],
})
const proof = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
const verifier = client.randomPKCECodeVerifier()
const expected = {
  pkceCodeVerifier: verifier,
  expectedState: client.randomState(),
  expectedNonce: client.randomNonce(),
  idTokenExpected: true,
}
const place = await client.buildAuthorizationUrlWithPAR(
  config,
  {
    redirect_uri: redirect,
    scope: 'openid profile',
    state: expected.expectedState,
    nonce: expected.expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  },
  { DPoP: proof },
)
const callback = await browse(place)
const first = await client.authorizationCodeGrant(config, callback, expected, {}, { DPoP: proof })
const who = await client.fetchUserInfo(config, first.access_token, first.claims().sub, { DPoP: proof })
const second = await client.refreshTokenGrant(config, first.refresh_token, {}, { DPoP: proof })
const me = await client.fetchProtectedResource(
  config, second.access_token, new URL('/v1/me', issuer), 'GET', undefined, undefined,
  { DPoP: proof },
)
const third = await client.refreshTokenGrant(config, second.refresh_token, {}, { DPoP: proof })
const old = await refusal(() =>
  client.refreshTokenGrant(config, first.refresh_token, {}, { DPoP: proof }))
const family = await refusal(() =>
  client.refreshTokenGrant(config, third.refresh_token, {}, { DPoP: proof }))

const again = client.randomPKCECodeVerifier()
const expectedAgain = { pkceCodeVerifier: again, expectedState: client.randomState() }
const elsewhere = await browse(client.buildAuthorizationUrl(config, {
  redirect_uri: redirect,
  scope: 'profile',
  state: expectedAgain.expectedState,
  code_challenge: await client.calculatePKCECodeChallenge(again),
  code_challenge_method: 'S256',
}))
const fresh = await client.authorizationCodeGrant(config, elsewhere, expectedAgain, {}, { DPoP: proof })
const code = await refusal(() =>
  client.authorizationCodeGrant(config, elsewhere, expectedAgain, {}, { DPoP: proof }))
const after = await refusal(() =>
  client.refreshTokenGrant(config, fresh.refresh_token, {}, { DPoP: proof }))

console.log(JSON.stringify({
  pushed: place.searchParams.has('request_uri'),
  sub: who.sub,
  type: first.token_type,
  rotated: second.refresh_token !== first.refresh_token,
  me: (await me.json()).id,
  old,
  family,
  code,
  after,
}))
