import type {Browser} from 'playwright-core'
import {afterAll, beforeAll, onTestFinished, vi} from 'vitest'
import {type Person, signUp, type TestServer} from '../support/server.ts'
import {buildClient, launch, openWindow, startSite, type Visit} from './chromium.ts'

export type Site = {
  server: TestServer
  browser: Browser
  person(username: string): Promise<Person>
  /** A window that is closed when the test is over. */
  open(...args: OpenArgs): Promise<Visit>
}
type OpenArgs = [who?: {cookies?: Map<string, string>}, options?: Parameters<typeof openWindow>[2]]

/** One server and one browser for a file of tests. */
export const useSite = (env: NodeJS.ProcessEnv = {}): Site => {
  // Each wait has its own limit; a browser on a machine that does other things as well needs more than a moment.
  vi.setConfig({testTimeout: 90_000})
  let server: TestServer
  let browser: Browser
  beforeAll(async () => {
    buildClient()
    server = await startSite(env, {shared: true})
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    await server?.stop()
  })
  return {
    get server() {
      return server
    },
    get browser() {
      return browser
    },
    person: (username) => signUp(server, {username}),
    open: async (who = {}, options = {}) => {
      const visit = await openWindow(browser, {...who, url: server.url}, options)
      onTestFinished(() => visit.context.close())
      return visit
    },
  }
}
