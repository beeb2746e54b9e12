// What people do on the pages, by keyboard and without script unless said otherwise.
import { createHash, randomBytes } from 'node:crypto'

const ZHANG = '13800000001'
let messages = 0

// Where an app sends people to sign in, and what it keeps for itself.
export function start(told, changes = {}) {
  const verifier = randomBytes(32).toString('base64url')
  const fields = {
    response_type: 'code',
    client_id: 'browser-app',
    redirect_uri: `http://127.0.0.1:${told.port}/callback`,
    scope: 'openid profile',
    state: 's-1',
    nonce: 'n-1',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...changes,
  }
  return { verifier, path: `/oauth2/authorize?${new URLSearchParams(fields)}` }
}

async function lastCode(told, phone) {
  const book = await (await fetch(`${told.sandbox}/_sim/sms/book?phone=${phone}`)).json()
  return book.messages.at(-1).code
}

function newPhone() {
  messages += 1
  return `1370000${String(process.pid % 100).padStart(2, '0')}${String(messages).padStart(2, '0')}`
}

// A person's number that nobody else has (GB 11643: the last character checks the others).
function idNumber(order) {
  const digits = `11010519491231${order}`
  const weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
  const sum = weights.reduce((sum, weight, i) => sum + weight * Number(digits[i]), 0)
  return digits + '10X98765432'[sum % 11]
}

async function signIn(w, told, login = ZHANG) {
  await w.fill({ login, password: told.password })
}

async function backWithCode(w) {
  w.expect((await w.back()).has('code'), `no code but ${w.page.url()}`)
}

export const password = {
  async play(w, told) {
    await w.open(start(told).path)
    await w.look('login')
    await w.press('form button')
    await w.look('login-empty', { mistake: true })
    await w.fill({ login: ZHANG, password: 'not this one' })
    await w.look('login-wrong', { mistake: true })
    w.expect((await w.page.inputValue('#login')) === ZHANG, 'what was typed is lost')
    w.expect((await w.page.inputValue('#password')) === '', 'the password came back')
    await w.fill({ password: told.password })
    await backWithCode(w)
  },
}

export const code = {
  async play(w, told) {
    const phone = told.proven[w.view]
    await w.open(start(told).path)
    await w.press('a[href^="/oauth2/login/code"]')
    await w.look('number')
    await w.fill({ phone: '12' })
    await w.look('number-wrong', { mistake: true })
    await w.fill({ phone: `${phone.slice(0, 3)} ${phone.slice(3, 7)} ${phone.slice(7)}` })
    await w.look('code')
    await w.fill({ code: '000000' })
    await w.look('code-wrong', { mistake: true })
    await w.press('button.other')
    await w.look('code-too-soon', { mistake: true })
    await w.open(start(told).path)
    w.expect(w.page.url().includes('/oauth2/login'), 'nobody should be signed in')
  },
}

export const codeRight = {
  async play(w, told) {
    const phone = newPhone()
    await w.open(start(told).path)
    await w.press('a[href^="/oauth2/login/code"]')
    await w.fill({ phone })
    await w.fill({ code: ` ${await lastCode(told, phone)} `.trim() })
    await w.look('newcomer')
    await w.fill({ name: '钱晨曦', id_number: '1' })
    await w.look('newcomer-wrong', { mistake: true })
    w.expect((await w.page.inputValue('#name')) === '钱晨曦', 'the name is lost')
    await w.fill({ id_number: idNumber(100 + w.view) })
    await backWithCode(w)
  },
}

export const register = {
  async play(w, told) {
    await w.open(start(told).path)
    await w.press('a[href^="/oauth2/register"]')
    await w.look('register')
    await w.press('button[value=plain]')
    await w.look('details')
    await w.press('form button')
    await w.look('details-empty', { mistake: true })
    const number = idNumber(200 + w.view)
    const password = 'Garden-gate-1949'
    await w.fill({ phone: newPhone(), name: '孙小满', id_number: number, password })
    await w.look('received')
  },
}

export const reset = {
  async play(w, told) {
    const phone = told.proven[4 + w.view]
    await w.open(start(told).path)
    await w.press('a[href^="/oauth2/reset"]')
    await w.look('number')
    await w.fill({ phone })
    await w.look('code')
    const code = await lastCode(told, phone)
    await w.fill({ code, password: '123' })
    await w.look('weak', { mistake: true })
    await w.fill({ code, password: 'Another-garden-7' })
    await w.look('done')
  },
}

export const stepUp = {
  async play(w, told) {
    const phone = told.unproven[w.view]
    await w.open(start(told, { acr_values: 'L2' }).path)
    await signIn(w, told, phone)
    await w.look('telephone')
    await w.press('#go')
    await w.look('code')
    await w.fill({ code: '000000' })
    await w.look('code-wrong', { mistake: true })
    await w.fill({ code: await lastCode(told, phone) })
    await w.look('name')
    await w.press('#go')
    await backWithCode(w)
  },
}

export const consent = {
  async play(w, told) {
    const asks = () => start(told, { client_id: told.foreign, prompt: 'consent' }).path
    await w.open(asks())
    await signIn(w, told)
    await w.look('consent')
    await w.press('button[value=deny]')
    w.expect((await w.back()).get('error') === 'access_denied', 'refusing is not told')
    await w.open(asks())
    await w.press('button[value=agree]')
    await backWithCode(w)
  },
}

async function terminalAsks(told) {
  const answer = await fetch(`${told.issuer}/oauth2/device_authorization`, {
    method: 'POST',
    body: new URLSearchParams({ client_id: 'counter-terminal', scope: 'openid profile' }),
  })
  return (await answer.json()).user_code
}

export const terminal = {
  async play(w, told) {
    const code = await terminalAsks(told)
    await w.open('/oauth2/device')
    await signIn(w, told, told.proven[w.view])
    await w.look('code')
    await w.fill({ user_code: 'bcdf-ghjk' })
    await w.look('code-wrong', { mistake: true })
    await w.fill({ user_code: code.toLowerCase() })
    await w.look('confirm')
    await w.press('button[value=agree]')
    await w.look('agreed')
    await w.open('/oauth2/device')
    await w.fill({ user_code: code })
    await w.look('used-twice', { mistake: true })
    await w.fill({ user_code: await terminalAsks(told) })
    await w.press('button[value=deny]')
    await w.look('denied')
  },
}

export const actingFor = {
  async play(w, told) {
    await w.open(start(told, { act_for: 'choose' }).path)
    await signIn(w, told)
    await w.look('acting')
    await w.press('button[name=act_for]:not([value=self])')
    await backWithCode(w)
  },
}

export const logout = {
  async play(w, told) {
    await w.open(start(told).path)
    await signIn(w, told)
    await w.open('/oauth2/logout')
    await w.look('ask')
    await w.press('form button')
    await w.look('done')
    await w.open(start(told).path)
    w.expect(w.page.url().includes('/oauth2/login'), 'still signed in')
  },
}

export const errors = {
  async play(w, told) {
    await w.open(start(told, { client_id: 'nobody' }).path)
    await w.look('unknown-client')
    await w.open('/oauth2/login?return_to=https://evil.example/')
    await w.look('bad-return')
    await w.open('/oauth2/upstream')
    await w.look('no-upstream')
  },
}

// Forms that lay too long: the browser has lost the cookie that belongs to them.
export const stale = {
  async play(w, told) {
    const lose = () => w.page.context().clearCookies({ name: 'beam_form' })
    await w.open(start(told).path)
    await lose()
    await w.fill({ login: ZHANG, password: told.password })
    await w.look('login', { mistake: true })
    await signIn(w, told)
    const asks = start(told, { client_id: told.foreign, prompt: 'consent' }).path
    for (const [name, path, button] of [
      ['consent', asks, 'button[value=agree]'],
      ['acting', start(told, { act_for: 'choose' }).path, 'button[name=act_for]'],
      ['logout', '/oauth2/logout', 'form button'],
      ['device', '/oauth2/device', 'form button'],
    ]) {
      await w.open(path)
      await lose()
      await w.press(button)
      await w.look(name)
      const text = await w.page.textContent('main')
      w.expect(/放置太久|too old/.test(text), `does not say that it is too old: ${text}`)
      w.expect(!/开发者|developers/.test(text), 'sends people to developers')
    }
  },
}

// What an app at our own address does with a token that it got for a fresh sign-in.
async function token(w, told, begun) {
  const answer = await fetch(`${told.issuer}/oauth2/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: 'browser-app',
      redirect_uri: `http://127.0.0.1:${told.port}/callback`,
      code: (await w.back()).get('code'),
      code_verifier: begun.verifier,
    }),
  })
  return (await answer.json()).access_token
}

export const passkey = {
  script: true,
  async play(w, told) {
    await w.scripts(true)
    await w.devtools.send('WebAuthn.enable')
    await w.devtools.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2',
        transport: 'internal',
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    })
    const begun = start(told)
    await w.open(begun.path)
    await w.look('login')
    w.expect(await w.page.isVisible('#passkey-form button'), 'no button for passkeys')
    await w.fill({ login: '13800000002', password: told.password })
    const bearer = { authorization: `Bearer ${await token(w, told, begun)}` }
    await w.page.route('**/app', (route) => route.fulfill({
      contentType: 'text/html',
      body: '<!doctype html><link rel="icon" href="data:,"><title>app</title>',
    }))
    await w.open('/app')
    const added = await w.page.evaluate(async ({ bearer, key }) => {
      const post = (path, key, body) => fetch(path, {
        method: 'POST',
        headers: { ...bearer, 'content-type': 'application/json', 'idempotency-key': key },
        body: JSON.stringify(body),
      })
      const asked = { method: 'POST', headers: { ...bearer, 'idempotency-key': `${key}-1` } }
      const options = await (await fetch('/v1/me/passkeys/options', asked)).json()
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey)
      const made = (await navigator.credentials.create({ publicKey })).toJSON()
      const credential = { id: made.id, rawId: made.rawId, type: made.type, response: {
        clientDataJSON: made.response.clientDataJSON,
        attestationObject: made.response.attestationObject,
        transports: made.response.transports,
      } }
      const answer = await post('/v1/me/passkeys', `${key}-2`, { name: '我的手机', credential })
      return { status: answer.status, ...(await answer.json()) }
    }, { bearer, key: `browser-${w.lang}-${process.pid}` })
    w.expect(added.status === 201, `not added: ${JSON.stringify(added)}`)
    await w.page.context().clearCookies()
    await w.open(start(told).path)
    await w.press('#passkey-form button')
    await backWithCode(w)
    const gone = await fetch(`${told.issuer}/v1/me/passkeys/${added.id}`, {
      method: 'DELETE', headers: bearer,
    })
    w.expect(gone.status === 204, `not removed: ${gone.status}`)
    await w.page.context().clearCookies()
    await w.open(start(told).path)
    await w.press('#passkey-form button')
    w.expect(w.page.url().endsWith('/oauth2/login/passkey'), `let in: ${w.page.url()}`)
    await w.look('removed', { mistake: true })
  },
}

// What people look for in their own words, misspelt too, and what they then read.
export const guide = {
  async play(w) {
    await w.open('/')
    await w.look('first')
    await w.fill({ q: '开饭管' })
    await w.look('found')
    w.expect((await w.page.inputValue('#q')) === '开饭管', 'what was typed is lost')
    await w.press('main li a')
    await w.look('item')
    w.expect(/食品经营许可/.test(await w.page.textContent('h1')), 'another item was found')
    await w.open(`/find?q=${encodeURIComponent('嗡嗡嗡')}`)
    await w.look('nothing')
    await w.open('/my-matters')
    await w.look('no-such-page')
  },
}

// The references are in both languages at once, and Chinese by their `lang`.
export const reference = {
  async play(w) {
    await w.open('/')
    await w.look('index')
    for (const path of ['/docs/events', '/docs/errors']) {
      await w.open(path)
      await w.look(path.replaceAll('/', '-'), { lang: 'zh' })
    }
  },
}

export const swagger = {
  script: true,
  async play(w) {
    await w.scripts(true)
    await w.open('/docs')
    await w.page.waitForSelector('.opblock-tag', { timeout: 90_000 })
    await w.look('closed', { lang: 'zh', script: true, wide: true })
    await w.page.focus('.opblock-tag button')
    await w.page.keyboard.press('Enter')
    await w.page.waitForSelector('.opblock')
    await w.page.focus('.opblock-summary-control')
    await w.page.keyboard.press('Enter')
    await w.page.waitForSelector('.opblock-body')
    await w.look('open', { lang: 'zh', script: true, wide: true })
  },
}
