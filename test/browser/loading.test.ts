import {describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {noChromium, untilLoaded} from './chromium.ts'
import {neighbourhood} from './neighbourhood.ts'
import {useSite} from './site.ts'

const JAVASCRIPT_BYTES = 150 * 1024

describe.skipIf(noChromium)(`loading the client${noChromium ? `. ${noChromium}` : ''}`, () => {
  const site = useSite()

  it('takes at most 150 KB of compressed JavaScript, and nothing moves while it loads', async () => {
    const {ann, lobby} = await neighbourhood(site.server)
    const visits = [
      {who: ann, paths: ['/', '/posts/', '/rooms/', `/rooms/${lobby}`, '/']},
      {who: {}, paths: ['/rooms/', `/rooms/${lobby}`, '/', '/posts/', '/rooms/']},
    ].flatMap((visit) => [
      {...visit, viewport: {width: 360, height: 740}},
      {...visit, viewport: {width: 1280, height: 800}},
    ])
    for (const {who, paths, viewport} of visits) {
      const {page} = await site.open(who, {viewport})
      await page.addInitScript(`
        window.moved = []
        new PerformanceObserver((list) => {
          for (const {value, sources} of list.getEntries()) if (value > 0.001) window.moved.push([value, ...sources.map(({node}) => node?.className ?? node?.nodeName)])
        }).observe({type: 'layout-shift', buffered: true})`)
      for (const path of paths) {
        await page.goto(path)
        await untilLoaded(page)
        await page.evaluate('new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))')
        expect.soft(await page.evaluate('window.moved'), `${path} at ${viewport.width}`).toEqual([])
      }
    }
    const {page} = await site.open()
    await page.goto('/')
    const scripts = (await page.evaluate(
      `performance.getEntriesByType('resource').filter(({name}) => name.endsWith('.js')).map(({encodedBodySize}) => encodedBodySize)`,
    )) as number[]
    expect(scripts.length).toBeGreaterThan(0)
    expect(scripts.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(JAVASCRIPT_BYTES)
    const paint = await eventually(
      async () =>
        (await page.evaluate(`performance.getEntriesByName('first-contentful-paint')[0]?.startTime`)) as
          | number
          | undefined,
    )
    process.stdout.write(`first paint after ${Math.round(paint)} ms, ${scripts} bytes of JavaScript\n`)
  })
})
