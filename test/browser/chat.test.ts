import type {Page} from 'playwright-core'
import {describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {connectBot, type Person, signUp, startServer} from '../support/server.ts'
import {noChromium, openWindow, startSite, untilLoaded} from './chromium.ts'
import {useSite} from './site.ts'

const makeRoom = async (host: Person, ...guests: Person[]): Promise<string> => {
  const {room} = (await host.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body
  for (const guest of guests) await guest.post(`/api/rooms/${room.id}/join`)
  return room.id
}

/** What the room shows, in order, without what is said twice for screen readers. */
const shown = (page: Page): Promise<string[]> => page.locator('.message > .user-text').evaluateAll(textOf)
const textOf = (items: {lastChild: {textContent: string | null} | null; cloneNode(deep: boolean): unknown}[]) =>
  items.map((item) => {
    const copy = item.cloneNode(true) as {querySelector(what: string): {remove(): void} | null; textContent: string}
    copy.querySelector('.visually-hidden')?.remove()
    return copy.textContent
  })

const say = async (page: Page, text: string) => {
  await page.getByLabel('Message', {exact: true}).fill(text)
  await page.keyboard.press('Enter')
}
const settled = (page: Page, lines: string[]) =>
  eventually(async () => {
    const isShown = JSON.stringify(await shown(page)) === JSON.stringify(lines)
    return isShown && (await page.locator('.is-pending').count()) === 0
  }).catch(async () => expect(await shown(page)).toEqual(lines))

describe.skipIf(noChromium)(`a room in the browser${noChromium ? `. ${noChromium}` : ''}`, () => {
  const site = useSite()

  it('lets two people and a bot talk', async () => {
    const [ann, bob] = [await site.person('Ann'), await site.person('Bob')]
    const roomId = await makeRoom(ann, bob)
    const [a, b] = [await site.open(ann), await site.open(bob)]
    await Promise.all([a.page.goto(`/rooms/${roomId}`), b.page.goto(`/rooms/${roomId}`)])
    await say(a.page, 'Hello Bob')
    await b.page.getByText('Hello Bob').first().waitFor()
    await say(b.page, 'Hello Ann, see https://example.org/a_(b).')
    const bot = await connectBot(site.server, {botId: 'echo', botName: 'Echo'})
    await bot.ask('join_room', roomId)
    await bot.ask('send_message', {roomId, content: 'Hello both'})
    const lines = ['Hello Bob', 'Hello Ann, see https://example.org/a_(b).', 'Hello both']
    for (const {page, errors} of [a, b]) {
      await settled(page, lines)
      expect(await page.locator('.message', {hasText: 'Hello both'}).locator('.badge-bot').textContent()).toBe('Bot')
      expect(await page.locator('.message a').getAttribute('href')).toBe('https://example.org/a_(b)')
      expect(errors).toEqual([])
    }
    expect(await a.page.getByRole('log').textContent()).toMatch(/Echo: Hello both/)
  })

  it('shows on the start page who of the people in it is online, as they come and go', async () => {
    const [ann, bob, carl] = [await site.person('Ann'), await site.person('Bob'), await site.person('Carl')]
    const roomId = await makeRoom(ann, bob)
    const {page} = await site.open(ann)
    await page.goto('/')
    const here = page.getByRole('region', {name: 'Here now'})
    await here.getByText('Nobody else from your rooms is online.').waitFor()
    const b = await site.open(bob)
    await b.page.goto('/')
    await here.getByText('Bob').waitFor()
    await carl.post(`/api/rooms/${roomId}/join`)
    await (await site.open(carl)).page.goto('/')
    await here.getByText('Carl').waitFor()
    await b.context.close()
    await here.getByText('Bob').waitFor({state: 'detached'})
    expect(await here.getByText('Carl').count()).toBe(1)
  })

  it('opens, closes and opens as one is invited, joins and leaves elsewhere', async () => {
    const [ann, bob] = [await site.person('Ann'), await site.person('Bob')]
    const {room} = (await ann.post('/api/rooms', {name: 'Attic'})).body
    const {page, errors} = await site.open(bob)
    await page.goto(`/rooms/${room.id}`)
    await page.getByRole('button', {name: 'Join this room'}).click()
    await page.getByText('there is none for you yet').waitFor()
    await ann.post(`/api/rooms/${room.id}/invite`, {userId: bob.id})
    await page.getByRole('heading', {name: 'You are invited to Attic'}).waitFor()
    expect(await page.getByText('there is none for you yet').count()).toBe(0)
    for (let time = 0; time < 2; time++) {
      await bob.post(`/api/rooms/${room.id}/join`)
      await page.getByRole('heading', {name: 'Attic', level: 1}).waitFor()
      await bob.post(`/api/rooms/${room.id}/leave`)
      await page.getByRole('heading', {name: 'You are not in this room'}).waitFor()
      await ann.post(`/api/rooms/${room.id}/invite`, {userId: bob.id})
    }
    await page.getByRole('button', {name: 'Join this room'}).click()
    await say(page, 'In again')
    await settled(page, ['In again'])
    expect(errors).toEqual([])
  })

  it('keeps what is written offline, sends it once, and shows what was missed below a line', async () => {
    const [ann, bob] = [await site.person('Ann'), await site.person('Bob')]
    const roomId = await makeRoom(ann, bob)
    const {page, context} = await site.open(ann)
    await page.goto(`/rooms/${roomId}`)
    await say(page, 'before')
    await settled(page, ['before'])
    await context.setOffline(true)
    await page.getByText('No connection').waitFor()
    await say(page, 'while away')
    expect(await page.locator('.is-pending').count()).toBe(1)
    for (const content of ['one', 'two']) await bob.post(`/api/rooms/${roomId}/messages`, {content})
    await context.setOffline(false)
    await settled(page, ['before', 'one', 'two', 'while away'])
    expect(await page.locator('.new-line + .message .user-text').textContent()).toBe('one')
    expect(await page.getByText('No connection').count()).toBe(0)
    const {messages} = (await bob.get(`/api/rooms/${roomId}/messages`)).body
    expect(messages.map(({content}: {content: string}) => content)).toEqual(['before', 'one', 'two', 'while away'])
  })

  it('goes on where it was when the server restarts in the middle of a conversation', async () => {
    const server = await startSite()
    const [ann, bob] = [await signUp(server, {username: 'Ann'}), await signUp(server, {username: 'Bob'})]
    const roomId = await makeRoom(ann, bob)
    const {page, context} = await openWindow(site.browser, ann)
    await page.goto(`/rooms/${roomId}`)
    await untilLoaded(page)
    await say(page, 'before')
    await settled(page, ['before'])
    await server.stop()
    await page.getByText('No connection').waitFor()
    await say(page, 'meanwhile')
    await startServer(server.env)
    await settled(page, ['before', 'meanwhile'])
    await bob.post(`/api/rooms/${roomId}/messages`, {content: 'after'})
    await settled(page, ['before', 'meanwhile', 'after'])
    const {messages} = (await ann.get(`/api/rooms/${roomId}/messages`)).body
    expect(messages.map(({content}: {content: string}) => content)).toEqual(['before', 'meanwhile', 'after'])
    await context.close()
  })

  it('says what was not sent, and sends it again as the same message', async () => {
    const ann = await site.person('Ann')
    const roomId = await makeRoom(ann)
    const {page} = await site.open(ann)
    // The message arrives, its answer does not: the one that is sent again must be the first one.
    await page.routeWebSocket(/socket\.io/, (socket) => {
      const server = socket.connectToServer()
      let sent = 0
      socket.onMessage((message) => {
        if (String(message).includes('"send_message"')) sent++
        server.send(message)
      })
      server.onMessage((message) => {
        if (sent > 1 || !String(message).includes('"content":"once"')) socket.send(message)
      })
    })
    await page.goto(`/rooms/${roomId}`)
    await untilLoaded(page)
    await say(page, 'once')
    await page.getByRole('alert').getByRole('button', {name: 'Try again'}).click({timeout: 20_000})
    await settled(page, ['once'])
    expect((await ann.get(`/api/rooms/${roomId}/messages`)).body.messages).toHaveLength(1)
  })

  it('keeps a draft, and what is on its way, through a reload', async () => {
    const ann = await site.person('Ann')
    const roomId = await makeRoom(ann)
    const {page, context} = await site.open(ann)
    await page.goto(`/rooms/${roomId}`)
    await page.getByLabel('Message', {exact: true}).fill('half a thou')
    await page.reload()
    expect(await page.getByLabel('Message', {exact: true}).inputValue()).toBe('half a thou')
    await context.setOffline(true)
    await page.getByText('No connection').waitFor()
    await say(page, 'a whole thought')
    await context.setOffline(false)
    await page.reload()
    await settled(page, ['a whole thought'])
  })
})
