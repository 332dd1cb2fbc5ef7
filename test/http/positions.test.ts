import {describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {connect, type Reply, signUp, startServer, visit} from '../support/server.ts'
import {stopFeeding} from '../support/standstill.ts'
import {startTwoNodes} from '../support/twoNodes.ts'

const positionOf = ({headers}: Reply): string => headers.get('x-log-position')!
const ids = ({body}: Reply): string[] => body.map(({id}: {id: string}) => id)
const elapsed = async <T>(work: Promise<T>): Promise<[T, number]> => {
  const began = performance.now()
  return [await work, performance.now() - began]
}

describe('a write over HTTP', () => {
  it('bears its position, also in a cookie that scripts do not see', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const {id} = (await ann.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body.room
    const bob = await signUp(server)
    const writes: [typeof ann, string, object?][] = [
      [ann, '/api/posts', {title: 'x'}],
      [ann, '/api/rooms', {name: 'x'}],
      [ann, `/api/rooms/${id}/invite`, {userId: 'x@example.com'}],
      [bob, `/api/rooms/${id}/join`],
      [bob, `/api/rooms/${id}/messages`, {content: 'x'}],
      [bob, `/api/rooms/${id}/leave`],
      [bob, '/api/email/login', {email: bob.email, password: 'secret one'}],
    ]
    let last = 0n
    for (const [by, path, body] of writes) {
      const reply = await by.post(path, body)
      expect(reply.status, path).toBe(200)
      expect(BigInt(positionOf(reply))).toBeGreaterThan(last)
      last = BigInt(positionOf(reply))
      const cookie = reply.headers.getSetCookie().find((line) => line.startsWith('log_position='))
      expect(cookie).toBe(`log_position=${last}; Path=/; HttpOnly; SameSite=Lax`)
    }
    for (const path of ['/api/posts', '/api/rooms', '/api/me']) expect(positionOf(await ann.get(path))).toBeNull()
  })

  it('is seen by the writer on another node, by cookie and by header', async () => {
    const [here, elsewhere] = await startTwoNodes()
    const ann = await signUp(here)
    const withCookies = visit(elsewhere.url, ann.cookies)
    expect((await withCookies.get('/api/me')).body.user.id).toBe(ann.id)
    for (let n = 0; n < 20; n++) {
      const created = await ann.post('/api/posts', {title: `${n}`})
      expect(ids(await withCookies.get('/api/posts?limit=1'))).toEqual([created.body.post.id])
      const next = await ann.post('/api/posts', {title: `${n}`})
      const withHeader = await visit(elsewhere.url).get('/api/posts?limit=1', {'x-min-position': positionOf(next)})
      expect(ids(withHeader)).toEqual([next.body.post.id])
    }
    const {id} = (await ann.post('/api/rooms', {name: 'Lobby'})).body.room
    const socket = await connect(ann)
    for (let n = 0; n < 20; n++) {
      const {position, message} = await socket.ask('send_message', {roomId: id, content: `${n}`})
      const path = `/api/rooms/${id}/messages?limit=1`
      expect((await ann.get(path)).body.messages).toEqual([message])
      expect((await withCookies.get(path, {'x-min-position': position})).body.messages).toEqual([message])
    }
  })

  it('keeps the newest position in the cookie, and one that the log never reached out of it', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const newest = positionOf(await ann.post('/api/posts', {title: 'newest'}))
    const again = await ann.post('/api/posts', {title: 'again'}, {'idempotency-key': 'k'})
    expect(ann.cookies.get('log_position')).toBe(positionOf(again))
    await ann.post('/api/posts', {title: 'newer'})
    const kept = ann.cookies.get('log_position')
    const repeat = await ann.post('/api/posts', {title: 'again'}, {'idempotency-key': 'k'})
    expect(positionOf(repeat)).toBe(positionOf(again))
    expect(ann.cookies.get('log_position')).toBe(kept)
    expect(BigInt(kept!)).toBeGreaterThan(BigInt(newest))
    for (const odd of ['99999999999999', 'x', '-1', '']) {
      ann.cookies.set('log_position', odd)
      const reply = await ann.post('/api/posts', {title: 'x'})
      expect(ann.cookies.get('log_position')).toBe(positionOf(reply))
    }
  })
})

describe('X-Min-Position', () => {
  it('that the log has not reached is POSITION_UNKNOWN at once, and such a cookie is ignored', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const head = BigInt(positionOf(await ann.post('/api/posts', {title: 'x'})))
    for (const position of [
      `${head + 1n}`,
      '999999999999',
      '9'.repeat(19),
      '9'.repeat(30),
      'x',
      '',
      '-1',
      '1.0',
      '0x1',
      `${head}, ${head}`,
    ]) {
      for (const path of ['/api/posts', '/api/me', '/api/rooms', '/api/me/export']) {
        const [reply, ms] = await elapsed(ann.get(path, {'x-min-position': position}))
        expect([reply.status, reply.body.code], position).toEqual([400, 'POSITION_UNKNOWN'])
        expect(ms).toBeLessThan(1_500)
      }
    }
    expect((await ann.get('/api/posts', {'x-min-position': `${head}`})).status).toBe(200)
    expect((await ann.get('/api/posts', {'x-min-position': '0'})).status).toBe(200)
    for (const cookie of [`${head + 1n}`, '9'.repeat(19), '9'.repeat(50), 'x', '']) {
      ann.cookies.set('log_position', cookie)
      expect((await ann.get('/api/posts')).status).toBe(200)
    }
  })

  it('that a table can not reach is BEHIND after 2 seconds, and shown as soon as it can', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const before = ids(await ann.get('/api/posts'))
    const goOn = await stopFeeding(server.databaseUrl)
    const [created, waited] = await elapsed(ann.post('/api/posts', {title: 'late'}))
    expect(created.status).toBe(200)
    expect(waited).toBeGreaterThan(1_900)
    for (const [behind, ms] of await Promise.all([
      elapsed(ann.get('/api/posts')),
      elapsed(visit(server.url).get('/api/posts', {'x-min-position': positionOf(created)})),
    ])) {
      expect([behind.status, behind.body.code]).toEqual([503, 'BEHIND'])
      expect(Number(behind.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(ms).toBeGreaterThan(1_900)
    }
    expect(ids(await visit(server.url).get('/api/posts'))).toEqual(before)
    const waiting = ann.get('/api/posts')
    await goOn()
    await eventually(async () => (await ann.get('/api/posts')).status === 200)
    expect([200, 503]).toContain((await waiting).status)
    expect(ids(await ann.get('/api/posts'))).toEqual([created.body.post.id, ...before])
  })
})

describe('a message that was acknowledged to a socket', () => {
  it('is shown by the node that is started again, however far behind the table is', async () => {
    const before = await startServer()
    const ann = await signUp(before)
    const roomId = (await ann.post('/api/rooms', {name: 'Lobby'})).body.room.id
    const goOn = await stopFeeding(before.databaseUrl)
    const socket = await connect(ann)
    expect(await socket.ask('send_message', {roomId, content: 'kept'})).toMatchObject({ok: true})
    socket.disconnect()
    await before.stop()
    const after = await startServer(before.env)
    const again = visit(after.url, ann.cookies)
    const path = `/api/rooms/${roomId}/messages`
    expect((await again.get(path)).body.code).toBe('BEHIND')
    await goOn()
    await eventually(async () => (await again.get(path)).body.messages?.[0].content === 'kept')
  })
})

describe('whoever just signed up', () => {
  it('is told that the table is behind, and never to sign in', async () => {
    const server = await startServer()
    const email = 'fresh@example.com'
    const fresh = visit(server.url)
    await fresh.post('/api/email/register', {email, password: 'secret one'})
    const link = new URL(await eventually(async () => (await server.links(email))[0]))
    const goOn = await stopFeeding(server.databaseUrl)
    expect((await fresh.get(link.pathname + link.search)).headers.get('location')).toBe('/posts/?login=ok')
    const socket = expect(connect(fresh)).rejects.toMatchObject({data: {code: 'BEHIND'}})
    for (const reply of await Promise.all([fresh.get('/api/me'), fresh.post('/api/posts', {title: 'x'})])) {
      expect([reply.status, reply.body.code]).toEqual([503, 'BEHIND'])
    }
    await socket
    await goOn()
    await eventually(async () => (await fresh.get('/api/me')).body?.user?.email === email)
  })
})
