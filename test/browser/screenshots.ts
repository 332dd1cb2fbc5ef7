import {mkdir} from 'node:fs/promises'
import {fileURLToPath} from 'node:url'
import type {Page} from 'playwright-core'
import {it} from 'vitest'
import {connect, visit} from '../support/server.ts'
import {buildClient, launch, noChromium, openWindow, startSite, untilLoaded} from './chromium.ts'
import {neighbourhood} from './neighbourhood.ts'

const FOLDER = fileURLToPath(new URL('../../screenshots/', import.meta.url))
const SIZES = {phone: {width: 360, height: 740}, wide: {width: 1280, height: 800}}

it.skipIf(noChromium)(
  `takes a picture of every page, at both sizes and in both themes${noChromium ?? ''}`,
  async () => {
    buildClient()
    await mkdir(FOLDER, {recursive: true})
    const server = await startSite()
    const {ann, bob, lobby, repair, walks, newest} = await neighbourhood(server)
    const bobSocket = await connect(bob)
    await bobSocket.ask('join_room', lobby)
    const browser = await launch()
    const nobody = visit(server.url)

    const scenes: [name: string, who: typeof nobody, path: string, act?: (page: Page) => Promise<unknown>][] = [
      ['home-out', nobody, '/'],
      ['sign-up', nobody, '/', (page) => page.getByRole('button', {name: 'Create an account'}).click()],
      [
        'check-email',
        nobody,
        '/',
        async (page) => {
          await page.getByRole('button', {name: 'Create an account'}).click()
          await page.getByLabel('Email address').fill('new@example.com')
          await page.getByLabel('Password').fill('secret one')
          await page.getByRole('button', {name: 'Create account'}).click()
          await page.getByText('Check your email').waitFor()
        },
      ],
      [
        'wrong-password',
        nobody,
        '/',
        async (page) => {
          await page.getByLabel('Email address').fill('ann@example.com')
          await page.getByLabel('Password').fill('not this one')
          await page.getByRole('button', {name: 'Sign in', exact: true}).click()
          await page.getByRole('alert').waitFor()
        },
      ],
      ['login-failed', nobody, '/?login=failed&reason=expired'],
      ['reset', nobody, '/?reset=abc'],
      ['home', ann, '/'],
      ['account', ann, '/', (page) => page.getByRole('button', {name: /your account/}).click()],
      [
        'search',
        ann,
        '/',
        async (page) => {
          await page.getByRole('button', {name: 'Search'}).click()
          await page.getByRole('searchbox').fill('walk')
          await page.locator('.result').first().waitFor()
        },
      ],
      ['posts', ann, '/posts/'],
      [
        'compose',
        ann,
        '/posts/',
        async (page) => {
          await page.getByRole('button', {name: 'Write a post'}).click()
          await page.getByLabel('Title').fill('A walk along the canal')
          await page.getByLabel('Text').fill('Who comes along?')
          await page.setInputFiles('input[type=file]', [
            {name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello')},
          ])
          await page.getByRole('alert').waitFor()
        },
      ],
      ['post', ann, `/posts/${newest}`],
      ['post-missing', ann, '/posts/u-none'],
      ['rooms', ann, '/rooms/'],
      ['new-room', ann, '/rooms/', (page) => page.getByRole('button', {name: 'New room'}).click()],
      ['room', ann, `/rooms/${lobby}`],
      [
        'room-members',
        ann,
        `/rooms/${repair}`,
        async (page) => {
          const button = page.getByRole('button', {name: /members/})
          if (await button.isVisible()) await button.click()
        },
      ],
      ['room-not-mine', bob, `/rooms/${repair}`],
      [
        'room-offline',
        ann,
        `/rooms/${walks}`,
        async (page) => {
          await page.getByText('Nine it is').last().waitFor()
          await page.context().setOffline(true)
          await page.getByLabel('Message', {exact: true}).fill('I may be late')
          await page.getByRole('button', {name: 'Send'}).click()
          await page.getByText('No connection').waitFor()
        },
      ],
      ['empty-rooms', nobody, '/rooms/'],
    ]
    const only = process.env.ONLY?.split(',')
    for (const [size, viewport] of Object.entries(SIZES)) {
      for (const colorScheme of ['light', 'dark'] as const) {
        for (const [name, who, path, act] of scenes) {
          if (only && !only.includes(name)) continue
          const {context, page, errors} = await openWindow(browser, who, {
            viewport,
            colorScheme,
            hasTouch: size === 'phone',
          })
          page.setDefaultTimeout(8_000)
          await page.goto(path)
          await untilLoaded(page)
          await act?.(page)
          await page.evaluate(
            'Promise.all([...document.images].map((image) => image.decode().catch(() => null))).then(() => null)',
          )
          await page.evaluate('document.fonts.ready.then(() => null)')
          await page.screenshot({path: `${FOLDER}${name}-${size}-${colorScheme}.png`, animations: 'disabled'})
          if (errors.length > 0) process.stderr.write(`${name} ${size}: ${errors.join('\n')}\n`)
          await context.close()
        }
      }
    }
    await browser.close()
  },
)
