import {execFileSync} from 'node:child_process'
import {existsSync} from 'node:fs'
import {mkdtemp} from 'node:fs/promises'
import {createServer} from 'node:http'
import type {AddressInfo} from 'node:net'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page} from 'playwright-core'
import {startServer, type TestServer} from '../support/server.ts'

const PLACES = [
  process.env.CHROMIUM_PATH ?? '',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]
const found = PLACES.find((path) => path !== '' && existsSync(path))

/** Why the browser tests do not run here; null: they do. */
export const noChromium =
  found === undefined
    ? 'Skipped: there is no Chromium. Install it (apt-get install chromium) or name it in CHROMIUM_PATH.'
    : null

export const launch = (): Promise<Browser> =>
  chromium.launch({
    executablePath: found!,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })

export const buildClient = (): void => {
  const script = fileURLToPath(new URL('../../web/build.js', import.meta.url))
  execFileSync(process.execPath, [script, '--if-older'], {stdio: 'inherit'})
}

/** A server whose BASE_URL is where it really listens, so that links and uploads lead to it. */
export const startSite = async (
  env: NodeJS.ProcessEnv = {},
  options?: Parameters<typeof startServer>[1],
): Promise<TestServer> => {
  const port = await freePort()
  const uploads = await mkdtemp(join(tmpdir(), 'community-uploads-'))
  const own = {PORT: String(port), BASE_URL: `http://127.0.0.1:${port}`, UPLOAD_DIR: uploads}
  return startServer({...own, ...env}, options)
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const {port} = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Everything is there that was being loaded. */
export const untilLoaded = async (page: Page): Promise<void> => {
  await page.locator('main h1, main h2').filter({visible: true}).first().waitFor()
  await page.locator('.bone, [aria-busy]').first().waitFor({state: 'detached'})
}

export type Visit = {context: BrowserContext; page: Page; errors: string[]}

/** A window of its own. What the page logs as an error, a violated CSP among it, ends up in `errors`. */
export const openWindow = async (
  browser: Browser,
  who: {url: string; cookies?: Map<string, string>},
  options: BrowserContextOptions = {},
): Promise<Visit> => {
  const context = await browser.newContext({
    baseURL: who.url,
    locale: 'en-GB',
    viewport: {width: 1280, height: 800},
    ...options,
  })
  await context.addCookies([...(who.cookies ?? [])].map(([name, value]) => ({name, value, url: who.url})))
  context.setDefaultTimeout(10_000)
  const page = await context.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text()))
      errors.push(message.text())
  })
  return {context, page, errors}
}
