import {describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {connectBot} from '../support/server.ts'
import {noChromium} from './chromium.ts'
import {useSite} from './site.ts'

describe.skipIf(noChromium)(`a long room in the browser${noChromium ? `. ${noChromium}` : ''}`, () => {
  const site = useSite()

  it('holds at most 200 messages of 10,000, and stays in place while older ones come', async () => {
    const ann = await site.person('Ann')
    const {room} = (await ann.post('/api/rooms', {name: 'Long', visibility: 'open'})).body
    // One connection may not send as many as that at once.
    const bots = await Promise.all(Array.from({length: 10}, (_, at) => connectBot(site.server, {botId: `bot-${at}`})))
    for (const [from, bot] of bots.entries()) {
      await bot.ask('join_room', room.id)
      bot.off('message')
      for (let part = 0; part < 1_000; part += 250) {
        const contents = Array.from(
          {length: 250},
          (_, at) => `number ${from * 1_000 + part + at}${at % 7 ? '' : '\nand more'}`,
        )
        await Promise.all(contents.map((content) => bot.ask('send_message', {roomId: room.id, content})))
      }
      bot.disconnect()
    }
    const {page} = await site.open(ann)
    await page.goto(`/rooms/${room.id}`)
    await page.locator('.message', {hasText: 'number 9999'}).waitFor()
    const look = () =>
      page.evaluate(`(() => {
        const list = document.querySelector('.messages')
        const top = list.getBoundingClientRect().top
        const items = [...list.querySelectorAll('[data-seq]')].map((item) => [Number(item.dataset.seq), item.getBoundingClientRect().bottom - top])
        return {items, count: items.length, scroll: list.scrollTop}
      })()`) as Promise<{items: [number, number][]; count: number; scroll: number}>
    await page.locator('.messages').hover()
    let most = 0
    let first = 10_000
    for (let turn = 0; turn < 40; turn++) {
      const before = await look()
      most = Math.max(most, before.count)
      first = before.items[0]![0]
      if (first < 9_600) break
      await page.mouse.wheel(0, -900)
      // Each message that is there before and after has moved by the wheel alone, and not by what was put above it.
      await eventually(async () => {
        const after = await look()
        const was = new Map(before.items)
        const moves = after.items.flatMap(([seq, bottom]) => (was.has(seq) ? [bottom - was.get(seq)!] : []))
        return moves.length > 0 && Math.max(...moves) - Math.min(...moves) < 60 && moves[0]! > 100 && moves[0]! < 1_000
      })
    }
    expect(first).toBeLessThan(9_600)
    expect(most).toBeLessThanOrEqual(200)
    await page.getByRole('button', {name: 'To the newest'}).click()
    await page.locator('.message', {hasText: 'number 9999'}).waitFor()
    expect((await look()).count).toBeLessThanOrEqual(200)

    // What is found in it is shown where it was said, by keyboard alone.
    await page.keyboard.press('Control+k')
    await page.keyboard.type('number 4321')
    await page.getByRole('link', {name: /number 4321/}).waitFor()
    await page.keyboard.press('Tab')
    while (!/number 4321/.test((await page.locator(':focus').textContent()) ?? '')) await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.locator('.is-found', {hasText: 'number 4321'}).waitFor()
    const {items} = await look()
    expect(items.length).toBeLessThanOrEqual(200)
    expect(items.find(([seq]) => seq === 4_321)![1]).toBeGreaterThan(0)
    await page.getByRole('button', {name: 'To the newest'}).click()
    await page.locator('.message', {hasText: 'number 9999'}).waitFor()
  })
})
