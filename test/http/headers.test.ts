import {describe, expect, it} from 'vitest'
import {signUp, startServer, visit} from '../support/server.ts'

describe('every answer', () => {
  it('keeps browsers from guessing, framing and telling, whatever it is', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    for (const path of ['/api/me', '/api/posts', '/api/nothing', '/', '/api-docs.html', '/metrics', '/api/logout']) {
      const {headers} = await ann.get(path)
      expect([path, headers.get('x-content-type-options')]).toEqual([path, 'nosniff'])
      expect([path, headers.get('referrer-policy')]).toEqual([path, 'no-referrer'])
      expect([path, headers.get('x-powered-by'), headers.get('server')]).toEqual([path, null, null])
      const policy = headers.get('content-security-policy')!
      for (const directive of [
        "default-src 'none'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
      ]) {
        expect(policy.split(';')).toContain(directive)
      }
      expect(policy).not.toMatch(/unsafe-(inline|eval)/)
    }
  })

  it('wants https for a year, subdomains too, once BASE_URL is https', async () => {
    const plain = await startServer()
    expect((await visit(plain.url).get('/healthz')).headers.get('strict-transport-security')).toBe(null)
    const secure = await startServer({BASE_URL: 'https://community.example.org'})
    expect((await visit(secure.url).get('/healthz')).headers.get('strict-transport-security')).toBe(
      'max-age=31536000; includeSubDomains',
    )
  })

  it('about somebody is for nobody else to keep', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    for (const path of ['/api/me', '/api/rooms']) {
      expect((await ann.get(path)).headers.get('cache-control')).toBe('private, no-cache')
    }
    expect((await visit(server.url).get('/api/me')).headers.get('cache-control')).toBe('no-store')
  })

  it('to TRACE and other methods that nobody declared is 404', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    for (const method of ['PUT', 'PATCH', 'PROPFIND']) {
      expect([method, (await ann.request(method, '/api/me')).status]).toEqual([method, 404])
    }
    for (const path of ['/', '/posts/', '/assets/x.js', '/api/posts']) {
      expect([path, (await ann.request('OPTIONS', path)).body.code]).toEqual([path, 'NOT_FOUND'])
    }
  })
})
