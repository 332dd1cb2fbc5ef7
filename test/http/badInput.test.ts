import {connect} from 'node:net'
import {text} from 'node:stream/consumers'
import {gzipSync} from 'node:zlib'
import {beforeAll, describe, expect, it} from 'vitest'
import {type Person, type Reply, signUp, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
let ann: Person
let roomId: string
beforeAll(async () => {
  ann = await signUp(server())
  roomId = (await ann.post('/api/rooms', {name: 'Lobby'})).body.room.id
})

const send = async (
  path: string,
  body: string | Buffer<ArrayBuffer>,
  headers: Record<string, string> = {},
  method = 'POST',
) => {
  const cookie = [...ann.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const answer = await fetch(new URL(path, server().url), {
    method,
    body,
    headers: {cookie, 'content-type': 'application/json', ...headers},
    redirect: 'manual',
  })
  const text = await answer.text()
  return {status: answer.status, body: JSON.parse(text), text, headers: answer.headers} as Reply
}

const jsonRoutes = () =>
  [
    ['/api/posts', {title: 'x'}],
    ['/api/rooms', {name: 'x'}],
    [`/api/rooms/${roomId}/invite`, {userId: 'x@example.com'}],
    [`/api/rooms/${roomId}/messages`, {content: 'x'}],
    ['/api/email/register', {email: 'x@example.com', password: 'secret one'}],
    ['/api/email/resend-verification', {email: 'x@example.com'}],
    ['/api/email/login', {email: 'x@example.com', password: 'secret one'}],
  ] as const

/** What every error looks like, whatever it is. */
const expectError = (reply: Reply, status: number, code: string) => {
  expect([reply.status, reply.body.code], reply.text).toEqual([status, code])
  expect(reply.body).toMatchObject({ok: false, code})
  expect(reply.body.error).toMatch(/^[A-Z].*\.$/)
  if (status === 400) expect(reply.body.issues[0]).toEqual({path: expect.any(String), message: expect.any(String)})
  expect(reply.body.requestId).toMatch(/^[0-9a-f-]{36}$/)
  expect(reply.headers.get('x-request-id')).toBe(reply.body.requestId)
  expect(reply.headers.get('content-type')).toBe('application/json; charset=utf-8')
  expect(reply.headers.get('cache-control')).toBe('no-store')
  expect(reply.text).not.toMatch(/node_modules|\.ts|\bat \w|Error:|SELECT|zod/i)
}

describe('a body', () => {
  it('that is no JSON is INVALID', async () => {
    for (const [path] of jsonRoutes()) {
      for (const body of ['{', '{"title":', 'title=x', '[1,', '\ufeff\ufeff{}', '{"a":1}}']) {
        expectError(await send(path, body), 400, 'INVALID')
      }
    }
  })

  it('that is JSON but no object, or holds other types, names what is wrong', async () => {
    for (const [path, right] of jsonRoutes()) {
      for (const body of ['[]', '"x"', 'null', '12']) {
        const reply = await send(path, body)
        expectError(reply, 400, 'INVALID')
        expect(reply.body.issues).toEqual([{path: '', message: 'the body must be an object'}])
      }
      const field = Object.keys(right)[0]!
      for (const wrong of [7, true, null, [], {}, ['x']]) {
        const reply = await send(path, JSON.stringify({...right, [field]: wrong}))
        expectError(reply, 400, 'INVALID')
        expect(reply.body.issues).toEqual([{path: field, message: 'must be text'}])
      }
    }
  })

  it('that is missing or empty names each required field', async () => {
    for (const [path, right] of jsonRoutes()) {
      for (const reply of [await ann.post(path), await send(path, ''), await send(path, '{}')]) {
        expectError(reply, 400, 'INVALID')
        expect(reply.body.issues).toEqual(Object.keys(right).map((name) => ({path: name, message: 'is required'})))
      }
    }
  })

  it('of another content type or character set is NOT_JSON', async () => {
    for (const [path, right] of jsonRoutes()) {
      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
        'application/jsonp',
        'application/vnd.api+json',
        'nonsense',
        'application/json; charset=latin1',
        'application/json; charset=utf-16',
        'application/json; charset=utf-7',
      ]) {
        expectError(await send(path, JSON.stringify(right), {'content-type': type}), 415, 'NOT_JSON')
      }
    }
    const bytes = Buffer.from(JSON.stringify({title: 'no type'}))
    expectError(await send('/api/posts', bytes, {'content-type': ''}), 415, 'NOT_JSON')
    for (const type of ['application/json', 'application/json;charset=UTF-8', 'Application/JSON; charset="utf-8"']) {
      expect((await send('/api/posts', bytes, {'content-type': type})).status).toBe(200)
    }
  })

  it('that is not UTF-8 is INVALID and never stored as something else', async () => {
    const before = (await ann.get('/api/posts')).body.length
    for (const bytes of [[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82]]) {
      const body = Buffer.concat([Buffer.from('{"title":"a'), Buffer.from(bytes), Buffer.from('"}')])
      expectError(await send('/api/posts', body), 400, 'INVALID')
    }
    expect((await ann.get('/api/posts')).body).toHaveLength(before)
  })

  it('of up to 512 KiB is read, and one byte more is TOO_LARGE', async () => {
    const sized = (bytes: number) => {
      const frame = JSON.stringify({title: 'sized', unknown: ''})
      return JSON.stringify({title: 'sized', unknown: 'x'.repeat(bytes - frame.length)})
    }
    expect((await send('/api/posts', sized(512 * 1024))).status).toBe(200)
    for (const [path] of jsonRoutes()) expectError(await send(path, sized(512 * 1024 + 1)), 413, 'TOO_LARGE')
    expectError(
      await send('/api/posts', gzipSync(sized(512 * 1024 + 1)), {'content-encoding': 'gzip'}),
      413,
      'TOO_LARGE',
    )
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, 0x20))
    expectError(await send('/api/posts', bomb, {'content-encoding': 'gzip'}), 413, 'TOO_LARGE')
  })

  it('may be compressed, and is INVALID or NOT_JSON where it only says so', async () => {
    const packed = gzipSync(JSON.stringify({title: 'packed'}))
    expect((await send('/api/posts', packed, {'content-encoding': 'gzip'})).body.post.title).toBe('packed')
    expectError(await send('/api/posts', '{"title":"x"}', {'content-encoding': 'gzip'}), 400, 'INVALID')
    expectError(await send('/api/posts', packed.subarray(0, 20), {'content-encoding': 'gzip'}), 400, 'INVALID')
    expectError(await send('/api/posts', '{"title":"x"}', {'content-encoding': 'rot13'}), 415, 'NOT_JSON')
  })

  it('that is nested 100,000 deep is answered like any other', async () => {
    const deep = '['.repeat(100_000) + ']'.repeat(100_000)
    expectError(await send('/api/posts', deep), 400, 'INVALID')
    expect((await send('/api/posts', `{"title":"deep","unknown":${deep}}`)).status).toBe(200)
    expectError(await send('/api/posts', `{"title":${deep}}`), 400, 'INVALID')
  })

  it('may hold unknown fields, which are ignored, and __proto__ is one of them', async () => {
    const reply = await send('/api/posts', '{"title":"odd","id":"u-mine","__proto__":{"body":"x"},"constructor":1}')
    expect(reply.status).toBe(200)
    expect(reply.body.post).toMatchObject({title: 'odd', body: ''})
    expect(reply.body.post.id).not.toBe('u-mine')
    expectError(await send('/api/posts', '{"__proto__":{"title":"x"}}'), 400, 'INVALID')
  })

  it('that holds NUL or half a surrogate pair anywhere is INVALID', async () => {
    for (const [path, right] of jsonRoutes()) {
      for (const name of Object.keys(right)) {
        for (const broken of [
          'a\\u0000bcdef@example.com',
          'a\\ud800bcdef@example.com',
          'a\\udc00\\ud800bcd@example.com',
        ]) {
          const json = JSON.stringify({...right, [name]: '@@'}).replace('@@', broken)
          const reply = await send(path, json)
          expectError(reply, 400, 'INVALID')
          expect(reply.body.issues[0].path).toBe(name)
        }
      }
    }
    for (const json of [
      '{"title":"x","body":"\\u0000"}',
      '{"title":"x","attachments":["https://example.com/\\ud800"]}',
      '{"email":"y@example.com","password":"secret one","username":"\\udfff"}',
    ]) {
      const path = json.includes('email') ? '/api/email/register' : '/api/posts'
      expectError(await send(path, json), 400, 'INVALID')
    }
  })
})

describe('a path', () => {
  it('that nothing is at is a JSON 404, for every method', async () => {
    const visitor = visit(server().url)
    for (const path of [
      '/api',
      '/api/',
      '/api/nothing',
      '/api/posts/x/y',
      '/api/email',
      '/API/nothing',
      '/api/%2e%2e/x',
    ]) {
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
        expectError(await visitor.request(method, path), 404, 'NOT_FOUND')
      }
    }
    for (const [method, path] of [
      ['PUT', '/api/posts'],
      ['DELETE', '/api/posts'],
      ['GET', '/api/email/login'],
      ['POST', '/api/email/verify'],
      ['PATCH', '/api/me'],
    ] as const) {
      expectError(await visitor.request(method, path), 404, 'NOT_FOUND')
    }
  })

  it('with a broken escape is INVALID, and one with NUL or nonsense is NOT_FOUND', async () => {
    for (const path of [
      '/api/posts/%',
      '/api/posts/%zz',
      '/api/posts/%c3',
      '/api/rooms/%ff',
      '/api/rooms/%e0%a4%a/messages',
    ]) {
      expectError(await ann.get(path), 400, 'INVALID')
    }
    for (const id of [
      '%00',
      'u-%00',
      '%F0%9F%98%80',
      "'%20OR%201=1--",
      'x'.repeat(5_000),
      '%2F..%2F',
      '%0d%0aX:%20y',
    ]) {
      expectError(await ann.get(`/api/posts/${id}`), 404, 'NOT_FOUND')
      for (const [method, path] of [
        ['GET', `/api/rooms/${id}`],
        ['GET', `/api/rooms/${id}/messages`],
        ['POST', `/api/rooms/${id}/join`],
        ['POST', `/api/rooms/${id}/leave`],
      ] as const) {
        expectError(await ann.request(method, path), 404, 'NOT_FOUND')
      }
      expectError(await ann.post(`/api/rooms/${id}/messages`, {content: 'x'}), 404, 'NOT_FOUND')
      expectError(await ann.post(`/api/rooms/${id}/invite`, {userId: 'x@example.com'}), 404, 'NOT_FOUND')
    }
  })
})

describe('a query', () => {
  it('that is out of range, doubled or of another type names the parameter', async () => {
    const cases: [path: string, name: string, values: string[]][] = [
      ['/api/posts', 'limit', ['0', '101', '-1', '1.5', '1e1', 'x', '', '%00', '99999999999', '1&limit=2']],
      ['/api/posts', 'cursor', ['x', '-1', '', '1.0', '99999999999999999999', '9223372036854775808', '1&cursor=2']],
      ['/api/rooms', 'limit', ['0', '501', 'x']],
      ['/api/rooms', 'visibility', ['invite', 'OPEN', '', 'open&visibility=open']],
      [`/api/rooms/${roomId}`, 'limit', ['0', '501']],
      [`/api/rooms/${roomId}`, 'cursor', ['x']],
      [`/api/rooms/${roomId}/messages`, 'limit', ['0', '201', '-1', 'x']],
      [`/api/rooms/${roomId}/messages`, 'before', ['-2', '2147483648', '1.5', 'x', '']],
      [`/api/rooms/${roomId}/messages`, 'since', ['-2', '2147483648', '%00', 'x', '1&since=2']],
    ]
    for (const [path, name, values] of cases) {
      for (const value of values) {
        const reply = await ann.get(`${path}?${name}=${value}`)
        expectError(reply, 400, 'INVALID')
        expect(reply.body.issues[0].path).toBe(name)
      }
    }
  })

  it('may hold what nobody asked for, broken escapes too', async () => {
    for (const query of [
      '?x=1',
      '?%',
      '?x[]=1&x[a][b]=2',
      '?=',
      '?__proto__=1&constructor=2',
      `?${'a&'.repeat(2_000)}`,
    ]) {
      expect((await ann.get(`/api/posts${query}`)).status).toBe(200)
    }
  })
})

describe('a request', () => {
  it('that is no HTTP, or has more headers than fit, is refused like any other', async () => {
    const {hostname, port} = new URL(server().url)
    const exchange = async (request: string): Promise<Reply> => {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.write(request)
      const answer = await text(socket)
      const [head = '', body = ''] = answer.split('\r\n\r\n')
      const [status = '', ...lines] = head.split('\r\n')
      const headers = new Headers(lines.map((line) => /^([^:]+): (.*)$/.exec(line)!.slice(1) as [string, string]))
      return {status: Number(status.split(' ')[1]), body: JSON.parse(body), text: body, headers}
    }
    for (const request of [
      'nonsense\r\n\r\n',
      'GET\r\n\r\n',
      'GET /api/posts HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n',
      'GET /api/posts HTTP/1.1\r\nConnection: close\r\n\r\n',
      'GET /api/posts HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n',
      'POST /api/posts HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'GET /api/\0 HTTP/1.1\r\nHost: x\r\n\r\n',
      '\x16\x03\x01\x02\x00\x01',
    ]) {
      expectError(await exchange(request), 400, 'INVALID')
    }
    const large = `GET /api/posts?${'x'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`
    expectError(await exchange(large), 413, 'TOO_LARGE')
    for (const offer of ['Expect: nonsense', 'Upgrade: h2c\r\nHTTP2-Settings: x', 'Upgrade: websocket']) {
      const connection = offer.startsWith('Upgrade') ? 'Upgrade, close' : 'close'
      const request = `GET /api/me HTTP/1.1\r\nHost: x\r\nConnection: ${connection}\r\n${offer}\r\n\r\n`
      expectError(await exchange(request), 401, 'NOT_SIGNED_IN')
    }
  })
})

describe('a header', () => {
  it('with a wrong bearer token is NOT_SIGNED_IN, also beside a session', async () => {
    for (const value of ['Bearer x', 'Bearer ', 'bearer x y', 'Bearer \u00ff']) {
      const reply = await ann.get('/api/me', {authorization: value})
      if (value.trim() === 'Bearer') expect(reply.status).toBe(200)
      else expectError(reply, 401, 'NOT_SIGNED_IN')
    }
    expect((await ann.get('/api/me', {authorization: 'Basic YTpi'})).status).toBe(200)
  })

  it('with a cookie that we never set is as good as none', async () => {
    const visitor = visit(server().url)
    for (const cookie of [
      'sid=',
      'sid=x',
      'sid=s%3Ax.y',
      'sid=%',
      'sid',
      '=;;=',
      `sid=${'x'.repeat(4_000)}`,
      'log_position=x',
    ]) {
      expectError(await visitor.get('/api/me', {cookie}), 401, 'NOT_SIGNED_IN')
      expect((await visitor.get('/api/posts', {cookie})).status).toBe(200)
    }
  })
})
