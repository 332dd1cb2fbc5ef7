import {Pool} from 'pg'
import {describe, expect, it} from 'vitest'
import type {Execute} from '../../src/commands/execute.ts'
import {REFUSALS_PER_HOUR} from '../../src/domain/access.ts'
import type {Person as Caller} from '../../src/edge/callers.ts'
import {ApiError} from '../../src/edge/errors.ts'
import {openRefusals} from '../../src/edge/refusals.ts'
import {eventually} from '../support/eventually.ts'
import {connect, connectBot, type Person, signUp, startServer, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'
import {person} from '../support/specification.ts'
import {storedEvents} from '../support/storedEvents.ts'

describe('refusals', () => {
  const server = sharedServer()

  const accessOf = async ({id}: {id: string}) => storedEvents(server(), `access-${id}`)
  /** What stands in the person's access stream, once there is as much. */
  const told = (who: Person, count: number) =>
    eventually(async () => {
      const events = await accessOf(who)
      return events.length >= count ? events : null
    })
  const logIn = (email: string, password: string) => visit(server().url).post('/api/email/login', {email, password})

  it('a failed sign-in by password, reset and verification is an event of the person whom it was for', async () => {
    const ann = await signUp(server())
    const used = new URL((await server().links(ann.email)).at(-1)!)
    const {requestId} = (await logIn(ann.email, 'wrong one')).body
    await visit(server().url).get(used.pathname + used.search)
    await visit(server().url).post('/api/email/reset', {
      token: `${ann.id.replace('email_', '')}.${'a'.repeat(52)}`,
      password: 'another',
    })
    const [signedIn, ...failed] = await told(ann, 4)
    expect(signedIn).toMatchObject({type: 'SignedIn', metadata: {causationId: expect.any(String)}})
    expect(failed.map(({type}) => type)).toEqual(['SignInFailed', 'SignInFailed', 'SignInFailed'])
    expect(failed.map(({data}) => [data.by, data.refused]).sort()).toEqual([
      ['password', 'WRONG_CREDENTIALS'],
      ['reset', 'TOKEN_INVALID'],
      ['verification', 'TOKEN_INVALID'],
    ])
    const {data, metadata} = failed.find(({data}) => data.by === 'password')!
    expect(metadata).toMatchObject({actor: null, command: 'logIn', correlationId: requestId, causationId: null})
    expect(JSON.stringify(data)).not.toMatch(/wrong one|example\.com|127\.0\.0\.1/)
  })

  it('one at an address that nobody has is none: no event, no stream, no key', async () => {
    await signUp(server())
    const pool = new Pool({connectionString: server().databaseUrl, max: 1})
    const keys = async () => (await pool.query('SELECT count(*) FROM keys.people')).rows[0].count
    const [events, people] = [(await storedEvents(server())).length, await keys()]
    for (let n = 0; n < 5; n++) expect((await logIn(`nobody${n}@example.net`, 'wrong one')).status).toBe(401)
    await visit(server().url).post('/api/email/reset', {
      token: `${'a'.repeat(26)}.${'a'.repeat(52)}`,
      password: 'another',
    })
    // What is begun for somebody afterwards is written after what would have been begun before it.
    const ann = await signUp(server())
    await logIn(ann.email, 'wrong one')
    await told(ann, 2)
    const after = (await storedEvents(server())).slice(events)
    expect(after.every(({stream, type}) => stream.includes(ann.id) || type === 'IdentityClaimed')).toBe(true)
    expect(Number(await keys())).toBe(Number(people) + 1)
    await pool.end()
  })

  it('what a signed-in person may not do is an event before it is answered, by HTTP and by socket', async () => {
    const [ann, bob] = [await signUp(server()), await signUp(server())]
    const {room} = (await bob.post('/api/rooms', {name: 'Closed'})).body
    const requests: [string, string, string, unknown?][] = [
      ['joinRoom', 'NOT_INVITED', `/api/rooms/${room.id}/join`],
      ['leaveRoom', 'NOT_A_MEMBER', `/api/rooms/${room.id}/leave`],
      ['inviteUser', 'NOT_A_MEMBER', `/api/rooms/${room.id}/invite`, {userId: ann.id}],
      ['sendMessage', 'NOT_FOUND', '/api/rooms/r-nowhere/messages', {content: 'a secret word'}],
    ]
    const before = (await accessOf(ann)).length
    const ids: string[] = []
    for (const [index, [command, refused, path, body]] of requests.entries()) {
      const reply = await ann.post(path, body)
      expect(reply.body.code).toBe(refused)
      ids.push(reply.body.requestId)
      const event = (await accessOf(ann)).at(-1)!
      expect((await accessOf(ann)).length).toBe(before + index + 1)
      expect(event).toMatchObject({
        type: 'CommandRefused',
        data: {userId: ann.id, command, refused, unwritten: 0},
        metadata: {actor: ann.id, command, correlationId: reply.body.requestId},
      })
    }
    expect((await ann.request('DELETE', '/api/me', {password: 'wrong one'})).status).toBe(401)
    const socket = await connect(ann)
    await socket.ask('send_message', {roomId: room.id, content: 'a secret word'})
    await socket.ask('join_room', room.id)
    await socket.ask('read', {roomId: room.id, seq: 0})
    const events = (await accessOf(ann)).slice(before + requests.length)
    expect(events.map(({data}) => [data.command, data.refused])).toEqual([
      ['eraseUser', 'WRONG_CREDENTIALS'],
      ['sendMessage', 'NOT_A_MEMBER'],
      ['joinRoom', 'NOT_A_MEMBER'],
      ['moveReadMark', 'NOT_A_MEMBER'],
    ])
    expect(JSON.stringify(events.map(({data, metadata}) => [data, metadata]))).not.toContain('a secret word')
  })

  it('what is no command, not valid, or a bot’s is none', async () => {
    const [ann, bob] = [await signUp(server()), await signUp(server())]
    const {room} = (await bob.post('/api/rooms', {name: 'Closed'})).body
    const before = (await storedEvents(server())).length
    expect((await ann.get(`/api/rooms/${room.id}`)).status).toBe(403)
    expect((await ann.post('/api/posts', {})).status).toBe(400)
    expect((await visit(server().url).post('/api/posts', {title: 'x'})).status).toBe(401)
    const bot = await connectBot(server())
    expect((await bot.ask('send_message', {roomId: 'r-nowhere', content: 'x'})).code).toBe('NOT_FOUND')
    expect((await storedEvents(server())).slice(before)).toEqual([])
  })

  it('who keeps being refused fills no log; the person finds it all in their export', async () => {
    const ann = await signUp(server())
    for (let n = 0; n < 3; n++) await Promise.all(Array.from({length: 20}, () => ann.post('/api/rooms/r-no/join')))
    await Promise.all(Array.from({length: 30}, () => logIn(ann.email, 'wrong one')))
    await eventually(async () => (await accessOf(ann)).length === 1 + 2 * REFUSALS_PER_HOUR)
    const pool = new Pool({connectionString: server().databaseUrl, max: 1})
    const counted = async () =>
      (await pool.query('SELECT kind, count FROM state.unwritten_refusals WHERE user_id = $1 ORDER BY 1', [ann.id]))
        .rows
    await eventually(async () => (await counted()).at(-1)?.count === 10)
    expect(await counted()).toEqual([
      {kind: 'CommandRefused', count: 40},
      {kind: 'SignInFailed', count: 10},
    ])
    const {events} = (await ann.get('/api/me/export')).body as {events: {type: string}[]}
    const count = (wanted: string) => events.filter(({type}) => type === wanted).length
    expect([count('SignedIn'), count('SignInFailed'), count('CommandRefused')]).toEqual([1, 20, 20])
    expect((await ann.request('DELETE', '/api/me', {})).status).toBe(200)
    expect(await counted()).toEqual([])
    await pool.end()
  })

  it('what was begun is written before the server ends', async () => {
    const own = await startServer()
    const ann = await signUp(own)
    await Promise.all(
      Array.from({length: 5}, () => visit(own.url).post('/api/email/login', {email: ann.email, password: 'wrong'})),
    )
    await own.stop()
    expect(await storedEvents(own, `access-${ann.id}`)).toHaveLength(6)
  })

  it('what can not be written holds up the answer for a second at most, and fails nothing', async () => {
    const logged: object[] = []
    const never = {load: () => new Promise(() => {})} as unknown as Execute
    const logger = {warn: (fields: object) => void logged.push(fields)} as never
    const by: Caller = {...person('Ann'), provider: 'email', email: null}
    const began = performance.now()
    await openRefusals({execute: never, pool: {} as Pool, logger}).commandFailed(
      by,
      'joinRoom',
      new ApiError('NOT_INVITED'),
      'request',
    )
    expect(performance.now() - began).toBeLessThan(2_000)
    const failing = {load: () => Promise.reject(new Error('the log is away'))} as unknown as Execute
    await openRefusals({execute: failing, pool: {} as Pool, logger}).commandFailed(
      by,
      'joinRoom',
      new ApiError('NOT_INVITED'),
      'request',
    )
    expect(logged).toEqual([{userId: by.userId, requestId: 'request', error: 'Error: the log is away'}])
  })
})
