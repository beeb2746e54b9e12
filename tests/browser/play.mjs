// node play.mjs: plays the scenes named in BEAM_PLAY in one Chromium, a few at a time, and prints
// one JSON line: scene → what it looked at and what was wrong.
import { createServer } from 'node:http'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { Window } from './look.mjs'
import * as scenes from './scenes.mjs'

const AT_ONCE = 3
const SCENE_SECONDS = 180
const told = { ...JSON.parse(process.env.BEAM_PLAY), shots: process.env.BEAM_BROWSER_SHOTS }
const html = '<!doctype html><html lang="en"><title>app</title><link rel="icon" href="data:,">back'
const app = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end(html))
await new Promise((ready) => app.listen(told.port, '127.0.0.1', ready))

const profile = mkdtempSync(join(tmpdir(), 'beam-browser-'))
const browser = await chromium.launch({
  executablePath: told.chromium,
  chromiumSandbox: false,
  args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'],
  env: { ...process.env, HOME: profile },
})

const found = {}
async function play(named) {
  const [name, lang = 'zh', size = 'standard'] = named.split(' ')
  const { script = false, play: scene } = scenes[name]
  const context = await browser.newContext({
    locale: lang === 'en' ? 'en-GB' : 'zh-CN',
    viewport: { width: 360, height: 740 },
    serviceWorkers: 'block',
  })
  context.setDefaultTimeout(20_000)
  const window = new Window(await context.newPage(), lang, size === 'large', told)
  window.scene = `${name}-${lang}-${size}`
  window.script = script
  let alarm
  const late = new Promise((_, fail) => {
    alarm = setTimeout(() => fail(new Error('the scene does not end')), SCENE_SECONDS * 1000)
  })
  try {
    await window.choose()
    await window.scripts(script)
    await Promise.race([scene(window, told), late])
  } catch (error) {
    const shown = await window.page.textContent('body', { timeout: 2000 }).catch(() => '')
    window.problems.push(`${error.stack}\non ${window.page.url()}: ${shown.slice(0, 400)}`)
  }
  clearTimeout(alarm)
  await context.close()
  found[named] = { looks: window.looks, problems: window.problems }
}

const waiting = [...told.scenes]
async function worker() {
  while (waiting.length) await play(waiting.shift())
}
await Promise.all(Array.from({ length: AT_ONCE }, worker))
await browser.close()
app.closeAllConnections()
app.close()
rmSync(profile, { recursive: true, force: true })
console.log(JSON.stringify(found))
