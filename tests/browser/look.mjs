// One person's window, and everything that must hold for each page that is shown in it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']
const FIELDS = {
  login: { autocomplete: 'username' },
  password: { autocomplete: /^(current|new)-password$/, type: 'password' },
  phone: { autocomplete: 'tel', inputmode: 'tel' },
  code: { autocomplete: 'one-time-code', inputmode: 'numeric' },
  name: { autocomplete: 'name' },
  id_number: { autocomplete: 'off' },
  q: { autocomplete: 'off', type: 'search' },
  user_code: { autocomplete: 'off' },
}

export class Window {
  constructor(page, lang, large, told) {
    const view = (large ? 2 : 0) + (lang === 'en' ? 1 : 0)
    Object.assign(this, { page, lang, large, view, told, looks: [], problems: [], said: [] })
    const allowed = [told.issuer, `http://127.0.0.1:${told.port}`]
    page.on('request', (request) => {
      const place = new URL(request.url())
      if (place.protocol !== 'data:' && !allowed.includes(place.origin))
        this.problems.push(`asked somebody else: ${request.url()}`)
    })
    page.on('pageerror', (error) => this.problems.push(`script: ${error.message}`))
    page.on('console', (message) => {
      // A page that tells of a mistake has a 4xx status of its own; that is no fault of it.
      const own = message.text().startsWith('Failed to load resource')
        && message.location().url === page.url()
      if (!own && ['error', 'warning'].includes(message.type()))
        this.problems.push(`console: ${message.text()}`)
    })
    page.on('response', (response) => {
      if (response.request().isNavigationRequest()) this.answer = response
    })
  }

  async open(path) {
    await this.page.goto(new URL(path, this.told.issuer).href)
  }

  // Once, by the link that every page has; cookies keep it.
  async choose() {
    if (!this.large) return
    await this.open('/oauth2/login')
    await this.page.click('nav a[href*="text=large"]')
  }

  async scripts(on) {
    this.devtools ??= await this.page.context().newCDPSession(this.page)
    await this.devtools.send('Emulation.setScriptExecutionDisabled', { value: !on })
  }

  expect(holds, text) {
    if (!holds) this.problems.push(`${this.where}: ${text}`)
  }

  // Looks at the page as it stands. `lang` where it differs from the window's.
  async look(name, { script = false, mistake = false, wide = false, lang = this.lang } = {}) {
    this.where = name
    this.looks.push(name)
    const page = this.page
    await page.waitForLoadState('load')
    const headers = await this.answer.allHeaders()
    const policy = headers['content-security-policy'] ?? ''
    this.expect(policy.includes("default-src 'none'"), `policy: ${policy}`)
    for (const end of ["frame-ancestors 'none'", "base-uri 'none'"])
      this.expect(policy.includes(end), `policy lacks ${end}`)
    this.expect(!/unsafe-|\*/.test(policy), `policy is loose: ${policy}`)
    const own = ` script-src ${this.told.issuer}/oauth2/passkey.js;`
    this.expect(script || !policy.replace(own, '').includes('script-src'),
      `policy lets scripts in: ${policy}`)
    this.expect(/no-store|no-cache/.test(headers['cache-control'] ?? ''), 'may be kept')
    this.expect(headers['x-content-type-options'] === 'nosniff', 'no nosniff')
    const about = await page.evaluate(() => ({
      lang: document.documentElement.lang,
      title: document.title,
      heads: document.querySelectorAll('h1').length,
      main: document.querySelectorAll('main').length,
      size: document.querySelector('nav a[href*="text="]')?.textContent ?? '',
      letters: parseFloat(getComputedStyle(document.body).fontSize),
      line: parseFloat(getComputedStyle(document.body).lineHeight),
      refresh: document.querySelectorAll('meta[http-equiv]').length,
      fonts: [...document.fonts].length,
    }))
    this.expect(about.lang === (lang === 'en' ? 'en' : 'zh-CN'), `lang is ${about.lang}`)
    this.expect(about.title.length > 3, 'no title')
    this.expect(wide || about.heads === 1, `${about.heads} h1`)
    this.expect(about.main === 1, `${about.main} main`)
    const least = this.large ? 24 : wide ? 14 : 18
    this.expect(about.letters >= least, `letters of ${about.letters} px`)
    this.expect(about.line >= (this.large ? 1.65 : 1.5) * about.letters, `lines of ${about.line} px`)
    const size = this.large ? /^(标准版|Standard text)$/ : /^(长者版|Large text)$/
    this.expect(size.test(about.size), `no switch of the size but ${about.size}`)
    this.expect(about.refresh === 0, 'the page changes by itself')
    this.expect(about.fonts === 0, 'a font of its own')
    await this.#axe(this.large && !wide)
    await this.#fits(name)
    await this.#fields()
    if (mistake) await this.#mistake(lang)
  }

  // Scripts of the page stay off; axe-core needs timers, so they are let on while it looks.
  async #axe(enhanced) {
    await this.scripts(true)
    await this.page.evaluate(axe)
    const found = await this.page.evaluate(
      ([tags, enhanced]) => globalThis.axe.run(document, {
        runOnly: { type: 'tag', values: tags },
        rules: { 'target-size': { enabled: true }, 'color-contrast-enhanced': { enabled: enhanced } },
        resultTypes: ['violations'],
      }),
      [TAGS, enhanced],
    )
    await this.scripts(this.script)
    for (const { id, nodes } of found.violations)
      this.expect(false, `axe ${id}: ${nodes.map((n) => n.html.slice(0, 160)).slice(0, 3)}`)
  }

  // 320 px wide, letters of twice the size, targets of 24 px and more, 48 in the elder edition.
  async #fits(name) {
    const page = this.page
    const over = () => page.evaluate(() => {
      const root = document.scrollingElement
      return root.scrollWidth - root.clientWidth
    })
    await page.setViewportSize({ width: 320, height: 700 })
    this.expect(await over() <= 0, `scrolls sideways by ${await over()} at 320 px`)
    for (const [width, height] of [[1280, 900], [360, 740]]) {
      await page.setViewportSize({ width, height })
      this.expect(await over() <= 0, `scrolls sideways by ${await over()} at ${width} px`)
      const path = `${this.told.shots}/${this.scene}-${name}-${width}.png`
      if (this.told.shots)
        await page.screenshot({ path, fullPage: true, clip: { x: 0, y: 0, width, height: 2 * height } })
    }
    await page.evaluate(() => { document.documentElement.style.fontSize = '200%' })
    this.expect(await over() <= 0, `scrolls sideways by ${await over()} at 200 %`)
    await page.evaluate(() => { document.documentElement.style.fontSize = '' })
    const small = await page.evaluate((least) =>
      [...document.querySelectorAll('main a, main button, main input, header a, header button, footer a')]
        .filter((e) => e.checkVisibility() && !e.closest('.wide, .swagger-ui'))
        .map((e) => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
        .filter(([, box]) => box.height < least || box.width < 24)
        .map(([html, box]) => `${html} ${Math.round(box.width)}x${Math.round(box.height)}`),
      this.large ? 48 : 24)
    this.expect(small.length === 0, `small targets: ${small.slice(0, 4)}`)
  }

  async #fields() {
    const fields = await this.page.evaluate(() =>
      [...document.querySelectorAll('main input:not([type=hidden])')]
        .filter((e) => e.checkVisibility() && !e.closest('.swagger-ui'))
        .map((e) => ({
          name: e.name,
          labels: e.labels.length,
          autocomplete: e.getAttribute('autocomplete'),
          inputmode: e.getAttribute('inputmode'),
          type: e.type,
        })))
    for (const field of fields) {
      const wanted = FIELDS[field.name]
      this.expect(wanted, `an unknown field ${field.name}`)
      this.expect(field.labels === 1, `${field.name} has ${field.labels} labels`)
      for (const [what, value] of Object.entries(wanted ?? {})) {
        const fits = value instanceof RegExp ? value.test(field[what]) : value === field[what]
        this.expect(fits, `${field.name}: ${what} is ${field[what]}`)
      }
    }
  }

  // A page that came again because something was wrong: title, summary, links, fields.
  async #mistake(lang) {
    const found = await this.page.evaluate(() => {
      const summary = document.querySelector('.summary')
      const texts = (e) => (e.getAttribute('aria-describedby') ?? '').split(' ').filter(Boolean)
        .map((id) => document.getElementById(id))
      return {
        title: document.title,
        role: summary?.getAttribute('role'),
        focused: document.activeElement === summary,
        links: [...(summary?.querySelectorAll('a') ?? [])].map((a) => {
          const target = document.getElementById(a.hash.slice(1))
          return !!target && target.matches('input, button, a') && target.checkVisibility()
        }),
        wrong: [...document.querySelectorAll('[aria-invalid=true]')].map((e) =>
          texts(e).some((t) => t?.classList.contains('why') && t.textContent.trim())
          && texts(e).every(Boolean)),
      }
    })
    const start = lang === 'en' ? 'Error: ' : '错误:'
    this.expect(found.title.startsWith(start), `title ${found.title}`)
    this.expect(found.role === 'alert', 'no summary of what is wrong')
    this.expect(found.focused, 'the summary has no focus')
    this.expect(found.links.length > 0 && found.links.every(Boolean), 'a link to no field')
    this.expect(found.wrong.every(Boolean), 'a wrong field that does not say why')
  }

  // Goes by the keyboard alone to what `selector` names; every stop on the way must be seen.
  async tab(selector) {
    const order = []
    for (let i = 0; i < 30; i += 1) {
      await this.page.keyboard.press('Tab')
      // The browser scrolls a moment after it moves the focus.
      await this.page.waitForFunction(() => {
        const box = document.activeElement.getBoundingClientRect()
        return box.top >= 0 && box.bottom <= innerHeight
      }, null, { timeout: 2000, polling: 20 }).catch(() => {})
      const at = await this.page.evaluate((selector) => {
        const e = document.activeElement
        const style = getComputedStyle(e)
        const place = [...document.querySelectorAll('*')].indexOf(e)
        const box = e.getBoundingClientRect()
        return {
          there: e.matches(selector),
          body: e === document.body,
          seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
          inside: box.top >= 0 && box.bottom <= innerHeight,
          html: e.outerHTML.slice(0, 80),
          place,
        }
      }, selector)
      if (!at.body) {
        this.expect(at.seen, `the focus is not seen on ${at.html}`)
        this.expect(at.inside, `the focus is out of sight on ${at.html}`)
        order.push(at.place)
      }
      if (at.there) {
        this.expect(order.every((p, n) => n === 0 || p > order[n - 1] || order[n - 1] === -1
          || p <= order[0]), 'the tab order is not that of the page')
        return
      }
    }
    throw new Error(`${selector} cannot be reached by the keyboard on ${this.page.url()}`)
  }

  // Fills in by keyboard what is given, and sends the form with Enter.
  async fill(fields, button) {
    for (const [name, value] of Object.entries(fields)) {
      await this.tab(`#${name}`)
      await this.page.keyboard.press('Control+a')
      await this.page.keyboard.press('Delete')
      await this.page.keyboard.type(value)
    }
    if (button) await this.tab(button)
    const gone = this.page.waitForNavigation({ waitUntil: 'load' })
    await this.page.keyboard.press('Enter')
    await gone
  }

  async press(selector) {
    await this.fill({}, selector)
  }

  // Where the app got the person back, as parameters.
  async back() {
    const url = new URL(this.page.url())
    this.expect(url.pathname === '/callback' && url.port === String(this.told.port),
      `not back at the app but at ${url.pathname}: ${(await this.page.textContent('body')).slice(0, 300)}`)
    return url.searchParams
  }
}
