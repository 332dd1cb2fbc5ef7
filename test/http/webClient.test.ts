import {request} from 'node:http'
import {brotliDecompressSync, gunzipSync} from 'node:zlib'
import {describe, expect, it} from 'vitest'
import {buildClient} from '../browser/chromium.ts'
import {startServer} from '../support/server.ts'

describe('openWebClient', () => {
  it('serves its pages afresh, and its files compressed and for ever', async () => {
    buildClient()
    const {url} = await startServer()
    for (const path of ['/', '/posts/', '/posts', '/posts/u-none', '/rooms/', '/rooms/none']) {
      const page = await fetch(url + path)
      expect([page.status, page.headers.get('cache-control')]).toEqual([200, 'no-cache'])
      expect(await page.text()).toContain('<div id="root">')
    }
    const html = await (await fetch(url)).text()
    expect(html).toContain('/uploads/')
    const script = /src="(\/assets\/[^"]+\.js)"/.exec(html)![1]!
    const plain = await fetch(url + script, {headers: {'accept-encoding': 'identity'}})
    const text = await plain.text()
    expect(plain.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
    expect(plain.headers.get('content-type')).toBe('text/javascript; charset=utf-8')
    expect(plain.headers.get('vary')).toMatch(/Accept-Encoding/)
    for (const [encoding, open] of [
      ['br', brotliDecompressSync],
      ['gzip', gunzipSync],
    ] as const) {
      const [got, bytes] = await new Promise<[string | undefined, Buffer]>((resolve, reject) =>
        request(url + script, {headers: {'accept-encoding': encoding}}, async (answer) => {
          resolve([answer.headers['content-encoding'], Buffer.concat(await answer.toArray())])
        })
          .on('error', reject)
          .end(),
      )
      expect(got).toBe(encoding)
      expect(open(bytes).toString()).toBe(text)
    }
  })

  it('has nothing but what was built', async () => {
    const {url} = await startServer()
    for (const path of ['/assets/none.js', '/assets/..%2findex.html', '/assets/', '/posts/a/b', '/rooms/a/b/c']) {
      const answer = await fetch(url + path)
      expect(answer.status, path).toBe(404)
      expect(await answer.json()).toMatchObject({code: 'NOT_FOUND'})
      expect(answer.headers.get('cache-control')).toBe('no-store')
      expect(answer.headers.get('content-encoding')).toBe(null)
    }
  })

  it('answers a browser that asks for a page that is none with the client, and all else with JSON', async () => {
    const {url} = await startServer()
    const accept = 'text/html,application/xhtml+xml,*/*;q=0.8'
    const ask = (path: string, method = 'GET', headers: Record<string, string> = {accept}) =>
      fetch(url + path, {method, headers})
    for (const method of ['GET', 'HEAD']) {
      const page = await ask('/nothing/here', method)
      expect([page.status, page.headers.get('cache-control')]).toEqual([404, 'no-store'])
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
      if (method === 'GET') expect(await page.text()).toContain('<div id="root">')
    }
    for (const answer of [
      await ask('/nothing', 'GET', {}),
      await ask('/nothing', 'GET', {accept: 'application/json'}),
      await ask('/nothing', 'OPTIONS'),
      await ask('/nothing', 'POST'),
      ...(await Promise.all(['/api/none', '/uploads/none', '/assets/none.js', '/API'].map((path) => ask(path)))),
    ]) {
      expect(answer.status).toBe(404)
      expect(await answer.json()).toMatchObject({code: 'NOT_FOUND'})
    }
  })
})
