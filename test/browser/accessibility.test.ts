import {readFile} from 'node:fs/promises'
import {createRequire} from 'node:module'
import type {Page} from 'playwright-core'
import {describe, expect, it} from 'vitest'
import {visit} from '../support/server.ts'
import {noChromium, untilLoaded} from './chromium.ts'
import {neighbourhood} from './neighbourhood.ts'
import {useSite} from './site.ts'

const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What another theme can break. */
const COLOURS = ['color-contrast', 'link-in-text-block']

/** The rules that the page breaks, and where. */
const violations = async (page: Page, only?: readonly string[]): Promise<string[]> => {
  if (!(await page.evaluate('"axe" in window'))) await page.evaluate(await axe)
  const options = {resultTypes: ['violations'], ...(only ? {runOnly: only} : {})}
  const run = `axe.run(${JSON.stringify(options)}).then(({violations}) => violations.map(({id, nodes}) => id + ': ' + nodes.map(({target, failureSummary}) => target + ' ' + failureSummary).join('; ')))`
  return page.evaluate(run) as Promise<string[]>
}

describe.skipIf(noChromium)(`who can use the client${noChromium ? `. ${noChromium}` : ''}`, () => {
  const site = useSite()

  it('includes people who rely on what axe checks: every page, both themes, both sizes', async () => {
    const {ann, bob, lobby, repair, newest} = await neighbourhood(site.server)
    const nobody = visit(site.server.url)
    const pages: [who: typeof nobody, path: string, act?: (page: Page) => Promise<unknown>][] = [
      [
        nobody,
        '/',
        async (page) => {
          await page.getByRole('button', {name: 'Sign in', exact: true}).click()
          await page.getByText('Enter your password.').waitFor()
        },
      ],
      [nobody, '/', (page) => page.getByRole('button', {name: 'Create an account'}).click()],
      [
        nobody,
        '/',
        async (page) => {
          await page.getByRole('button', {name: 'Create an account'}).click()
          await page.getByLabel('Email address').fill(`${crypto.randomUUID()}@example.com`)
          await page.getByLabel('Password').fill('secret one')
          await page.getByRole('button', {name: 'Create account'}).click()
          await page.getByText('Check your email').waitFor()
        },
      ],
      [nobody, '/', (page) => page.getByRole('button', {name: 'Forgot your password?'}).click()],
      [nobody, '/?reset=abc&login=failed&reason=expired', (page) => page.getByText('older than 24 hours').waitFor()],
      [nobody, '/'],
      [nobody, '/api-docs.html'],
      [nobody, '/posts/'],
      [nobody, '/rooms/'],
      [ann, '/'],
      [ann, '/', (page) => page.getByRole('button', {name: /your account/}).click()],
      [
        ann,
        '/',
        async (page) => {
          await page.getByRole('button', {name: /your account/}).click()
          await page.getByRole('button', {name: 'Erase my account…'}).click()
        },
      ],
      [
        ann,
        '/',
        async (page) => {
          await page.getByRole('button', {name: 'Search'}).click()
          await page.getByRole('searchbox').fill('walk')
          await page.locator('.result').first().waitFor()
        },
      ],
      [
        ann,
        '/posts/',
        async (page) => {
          await page.getByRole('button', {name: 'Write a post'}).click()
          await page.getByRole('button', {name: 'Publish'}).click()
          await page.getByText('Give your post a title.').waitFor()
        },
      ],
      [
        ann,
        '/posts/',
        async (page) => {
          await page.getByRole('button', {name: 'Write a post'}).click()
          await page.getByLabel('Title').fill('Half a thought')
          await page.setInputFiles('input[type=file]', [
            {name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello')},
          ])
          await page.getByRole('alert').waitFor()
        },
      ],
      [
        ann,
        '/posts/',
        async (page) => {
          await page.getByRole('button', {name: 'Discard'}).click()
          await page.getByRole('button', {name: 'Keep writing'}).waitFor()
        },
      ],
      [ann, `/posts/${newest}`],
      [ann, '/posts/u-none'],
      [ann, '/rooms/', (page) => page.getByRole('button', {name: 'New room'}).click()],
      [ann, `/rooms/${lobby}`],
      [
        ann,
        `/rooms/${lobby}`,
        async (page) => {
          const members = page.getByRole('button', {name: /members/})
          if (await members.isVisible()) await members.click()
          await page.getByRole('button', {name: 'Leave room'}).click()
          await page.getByRole('button', {name: 'Stay'}).waitFor()
        },
      ],
      [bob, `/rooms/${repair}`],
    ]
    const found: string[] = []
    for (const viewport of [
      {width: 360, height: 740},
      {width: 1280, height: 800},
    ]) {
      for (const who of new Set(pages.map(([who]) => who))) {
        const {page, errors} = await site.open(who, {viewport, reducedMotion: 'reduce', bypassCSP: true})
        for (const [, path, act] of pages.filter(([other]) => other === who)) {
          // What opens over a page, and each step of signing in, is the same at both sizes.
          if (act && viewport.width > 360) continue
          await page.goto(path)
          await untilLoaded(page)
          await act?.(page)
          for (const [colorScheme, only] of [['light'], ['dark', COLOURS]] as const) {
            await page.emulateMedia({colorScheme})
            for (const violation of await violations(page, only))
              found.push(`${path} ${viewport.width} ${colorScheme} ${violation}`)
          }
          const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
          if (overflow !== 0) found.push(`${path} ${viewport.width}: ${overflow} px too wide`)
        }
        expect(errors).toEqual([])
      }
    }
    expect(found).toEqual([])
  }, 120_000)

  it('includes people with only a keyboard', async () => {
    const [ann, bob] = [await site.person('Ann'), await site.person('Bob')]
    const {page} = await site.open(ann)
    const focused = (): Promise<string> =>
      page.evaluate(
        `(() => { const on = document.activeElement; return on.getAttribute('aria-label') ?? on.labels?.[0]?.textContent ?? on.textContent })().trim()`,
      ) as Promise<string>
    const tabTo = async (name: string | RegExp) => {
      const passed: string[] = []
      for (let at = 0; at < 40; at++) {
        await page.keyboard.press('Tab')
        const now = await focused()
        if (typeof name === 'string' ? now === name : name.test(now)) return
        passed.push(now)
      }
      throw new Error(`Tab does not lead to ${name}, but to ${passed.join(' | ')}`)
    }

    await page.goto('/')
    await page.getByRole('heading', {name: 'Hello, Ann'}).waitFor()
    await tabTo('Skip to the content')
    await page.keyboard.press('Enter')
    await tabTo('Write a post')
    await page.keyboard.press('Enter')
    await expect.poll(focused).toBe('Title')
    await page.keyboard.type('By keyboard')
    await page.keyboard.press('Tab')
    await page.keyboard.type('All of it.')
    await tabTo('Publish')
    await page.keyboard.press('Enter')
    await page.getByRole('article', {name: 'By keyboard'}).waitFor()

    await page.goto('/rooms/')
    await page.getByRole('button', {name: 'New room'}).waitFor()
    await tabTo('New room')
    await page.keyboard.press('Enter')
    await expect.poll(focused).toBe('Name')
    await page.keyboard.press('Escape')
    await expect.poll(focused).toBe('New room')
    await page.keyboard.press('Enter')
    await expect.poll(focused).toBe('Name')
    await page.keyboard.type('Quiet room')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', {name: 'Quiet room', level: 1}).waitFor()
    await expect.poll(focused).toBe('Quiet room')
    await tabTo('Message')
    await page.keyboard.type('First line')
    await page.keyboard.press('Shift+Enter')
    await page.keyboard.type('second line')
    await page.keyboard.press('Enter')
    await page.locator('.message:not(.is-pending)', {hasText: 'First line\nsecond line'}).waitFor()
    await tabTo('Invite somebody')
    await page.keyboard.type(bob.email)
    await page.keyboard.press('Enter')
    await page.getByText('can join now').waitFor()
    expect((await bob.get('/api/rooms')).body.invitations).toHaveLength(1)
  })
})
