import {describe, expect, it} from 'vitest'
import {signUp, startServer, type TestServer, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const ELSEWHERE = 'https://app.example.org'
const FOREIGN = [
  'https://evil.example',
  'null',
  'http://127.0.0.1',
  'http://localhost:1',
  'file://',
  '',
  'x',
  'https://app.example.org.evil.example',
  'http://app.example.org',
  'https://app.example.org:8443',
]

const server = sharedServer({CORS_ORIGINS: `${ELSEWHERE},https://two.example.org`, BASE_URL: 'http://community.test'})

const shakeHands = async ({url}: TestServer, headers: Record<string, string>) => {
  const response = await fetch(`${url}/socket.io/?EIO=4&transport=polling`, {headers})
  return {status: response.status, body: await response.text(), headers: response.headers}
}

describe('a request from a page of another site', () => {
  it('is CROSS_SITE where it could change something, whatever it asks for', async () => {
    const ann = await signUp(server())
    for (const origin of FOREIGN) {
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
        for (const path of ['/api/posts', '/api/email/login', '/api/nothing', '/']) {
          const refused = await ann.request(method, path, {title: 'x'}, {origin})
          expect([refused.status, refused.body.code], `${method} ${path} from ${origin}`).toEqual([403, 'CROSS_SITE'])
          expect(refused.headers.get('access-control-allow-origin')).toBeNull()
        }
      }
      expect((await ann.get('/api/posts', {origin})).status).toBe(200)
    }
    expect((await ann.get('/api/posts')).body).toEqual([])
  })

  it('passes from the own host, from BASE_URL, from CORS_ORIGINS and without an Origin', async () => {
    const ann = await signUp(server())
    for (const headers of [
      {},
      {origin: server().url},
      {origin: server().url.replace('http:', 'https:')},
      {origin: 'http://community.test'},
      {origin: ELSEWHERE},
      {origin: 'https://two.example.org'},
    ]) {
      expect((await ann.post('/api/posts', {title: 'x'}, headers as Record<string, string>)).status).toBe(200)
    }
  })
})

describe("a socket's handshake", () => {
  it('is CROSS_SITE from a foreign page, and passes else', async () => {
    for (const origin of FOREIGN) {
      const refused = await shakeHands(server(), {origin})
      expect([refused.status, JSON.parse(refused.body).code], origin).toEqual([403, 'CROSS_SITE'])
    }
    for (const origin of [server().url, 'http://community.test', ELSEWHERE]) {
      const taken = await shakeHands(server(), {origin})
      expect([taken.status, taken.body[0]]).toEqual([200, '0'])
      expect(taken.headers.get('access-control-allow-origin')).toBe(origin === ELSEWHERE ? origin : null)
      if (origin === ELSEWHERE) expect(taken.headers.get('access-control-allow-credentials')).toBe('true')
    }
    expect((await shakeHands(server(), {})).status).toBe(200)
  })
})

describe('CORS_ORIGINS', () => {
  it('lets pages of these origins read every answer, errors too', async () => {
    const visitor = visit(server().url)
    for (const path of ['/api/posts', '/api/me', '/api/nothing', '/healthz', '/api/posts/%']) {
      const reply = await visitor.get(path, {origin: ELSEWHERE})
      expect(reply.headers.get('access-control-allow-origin')).toBe(ELSEWHERE)
      expect(reply.headers.get('access-control-allow-credentials')).toBe('true')
      expect(reply.headers.get('access-control-expose-headers')).toBe('X-Log-Position, Link, ETag, Retry-After')
      expect(reply.headers.get('vary')).toMatch(/\bOrigin\b/)
    }
    const etag = (await visitor.get('/api/posts')).headers.get('etag')!
    const same = await visitor.get('/api/posts', {origin: ELSEWHERE, 'if-none-match': etag})
    expect([same.status, same.headers.get('access-control-allow-origin')]).toEqual([304, ELSEWHERE])
    for (const origin of [...FOREIGN, 'http://community.test', server().url]) {
      const reply = await visitor.get('/api/posts', {origin})
      expect(reply.headers.get('access-control-allow-origin')).toBeNull()
      expect(reply.headers.get('vary')).toMatch(/\bOrigin\b/)
    }
    expect((await visitor.get('/api/posts')).headers.get('access-control-allow-origin')).toBeNull()
  })

  it('answers their preflights, and nobody else’s', async () => {
    const ask = (origin: string, path = '/api/posts') =>
      visit(server().url).request('OPTIONS', path, undefined, {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,idempotency-key',
      })
    for (const path of ['/api/posts', '/api/me', '/api/rooms/r-x/messages']) {
      const allowed = await ask(ELSEWHERE, path)
      expect([allowed.status, allowed.text]).toEqual([204, ''])
      expect(allowed.headers.get('access-control-allow-origin')).toBe(ELSEWHERE)
      expect(allowed.headers.get('access-control-allow-credentials')).toBe('true')
      for (const method of ['GET', 'POST', 'DELETE']) {
        expect(allowed.headers.get('access-control-allow-methods')).toContain(method)
      }
      const headers = allowed.headers.get('access-control-allow-headers')!.toLowerCase().split(', ')
      expect(headers).toEqual(
        expect.arrayContaining(['content-type', 'idempotency-key', 'x-min-position', 'if-none-match']),
      )
    }
    for (const origin of FOREIGN) {
      expect((await ask(origin)).headers.get('access-control-allow-origin')).toBeNull()
    }
  })

  it('lets nobody in while it is not set', async () => {
    const closed = await startServer()
    const reply = await visit(closed.url).get('/api/posts', {origin: ELSEWHERE})
    expect(reply.headers.get('access-control-allow-origin')).toBeNull()
    expect(reply.headers.get('access-control-expose-headers')).toBeNull()
    expect((await visit(closed.url).post('/api/posts', {}, {origin: ELSEWHERE})).body.code).toBe('CROSS_SITE')
    expect((await shakeHands(closed, {origin: ELSEWHERE})).status).toBe(403)
  })
})

describe('our cookies', () => {
  it('are SameSite=Lax, Secure under https, and for other sites where CORS_ORIGINS lets those in', async () => {
    for (const [env, flags] of [
      [{BASE_URL: 'http://community.test'}, 'HttpOnly; SameSite=Lax'],
      [{BASE_URL: 'http://community.test', CORS_ORIGINS: ELSEWHERE}, 'HttpOnly; SameSite=Lax'],
      [{BASE_URL: 'https://community.test'}, 'HttpOnly; Secure; SameSite=Lax'],
      [{BASE_URL: 'https://community.test', CORS_ORIGINS: ELSEWHERE}, 'HttpOnly; Secure; Partitioned; SameSite=None'],
    ] as const) {
      const own = await startServer(env)
      const {email} = await signUp(own)
      const visitor = visit(own.url)
      const signedIn = await visitor.post('/api/email/login', {email, password: 'secret one'})
      const cookies = Object.fromEntries(
        signedIn.headers.getSetCookie().map((line) => {
          const [pair = '', ...rest] = line.split('; ')
          return [
            pair.split('=')[0],
            rest
              .filter((flag) => !/^(Path|Expires)=/.test(flag))
              .sort()
              .join('; '),
          ]
        }),
      )
      const expected = flags.split('; ').sort().join('; ')
      expect(cookies, JSON.stringify(env)).toEqual({sid: expected, log_position: expected})
      expect((await visitor.get('/api/me')).status).toBe(200)
    }
  })
})
