import {beforeAll, describe, expect, it} from 'vitest'
import {type Person, type Reply, signUp, startServer, type Visitor, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'
import {startTwoNodes} from '../support/twoNodes.ts'

const server = sharedServer()
let ann: Person
let bob: Person
let roomId: string
beforeAll(async () => {
  ann = await signUp(server(), {username: 'Ann'})
  bob = await signUp(server(), {username: 'Bob'})
  roomId = await newRoom(ann)
})

const newRoom = async (by: Visitor): Promise<string> =>
  (await by.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body.room.id
const withKey = (by: Visitor, path: string, key: string, body: object): Promise<Reply> =>
  by.post(path, body, {'idempotency-key': key})
let keys = 0
const newKey = () => `key ${++keys}`

/** Path, body, and that body said otherwise but the same once validated; then other bodies. */
const cases = (): [path: string, body: object, same: object, others: object[]][] => [
  [
    '/api/posts',
    {title: 'a', body: 'b'},
    {body: 'b', title: 'a', attachments: [], unknown: 1},
    [{title: 'a'}, {title: 'A', body: 'b'}, {title: 'a', body: 'b', attachments: ['https://example.com']}],
  ],
  ['/api/rooms', {name: 'a'}, {visibility: 'invite', name: 'a'}, [{name: 'b'}, {name: 'a', visibility: 'open'}]],
  [`/api/rooms/${roomId}/messages`, {content: 'a'}, {unknown: 1, content: 'a'}, [{content: 'b'}, {content: 'a '}]],
]

describe('an Idempotency-Key', () => {
  it('gives the first answer again, and refuses another body', async () => {
    for (const [path, body, same, others] of cases()) {
      const key = newKey()
      const first = await withKey(ann, path, key, body)
      expect(first.status, first.text).toBe(200)
      for (const again of [body, same]) {
        const repeat = await withKey(ann, path, key, again)
        expect([repeat.status, repeat.text]).toEqual([200, first.text])
        expect(BigInt(repeat.headers.get('x-log-position')!)).toBeGreaterThanOrEqual(
          BigInt(first.headers.get('x-log-position')!),
        )
      }
      for (const other of others) {
        const refused = await withKey(ann, path, key, other)
        expect([refused.status, refused.body.code]).toEqual([422, 'IDEMPOTENCY_KEY_REUSED'])
      }
      expect((await withKey(ann, path, key, body)).text).toBe(first.text)
    }
  })

  it('is one of the person and of the path', async () => {
    const key = newKey()
    const rooms = [roomId, await newRoom(ann)]
    await bob.post(`/api/rooms/${roomId}/join`)
    const replies = [
      await withKey(ann, '/api/posts', key, {title: 'a'}),
      await withKey(bob, '/api/posts', key, {title: 'b'}),
      await withKey(ann, '/api/rooms', key, {name: 'c'}),
      await withKey(ann, `/api/rooms/${rooms[0]}/messages`, key, {content: 'd'}),
      await withKey(ann, `/api/rooms/${rooms[1]}/messages`, key, {content: 'e'}),
      await withKey(bob, `/api/rooms/${rooms[0]}/messages`, key, {content: 'f'}),
    ]
    expect(replies.map(({status}) => status)).toEqual(replies.map(() => 200))
    expect(new Set(replies.map(({body}) => (body.post ?? body.room ?? body.message).id.slice(2))).size).toBe(
      replies.length,
    )
    const spelt = await withKey(ann, '/API/posts/?x=1', key, {title: 'a'})
    expect(spelt.text).toBe(replies[0]!.text)
  })

  it('is 1 to 255 printable ASCII characters', async () => {
    for (const [path, body] of cases()) {
      for (const key of ['k', 'k'.repeat(255), '!~ "\\{}', `${newKey()}, x`]) {
        expect((await withKey(ann, path, key, body)).status, key).toBe(200)
      }
      for (const key of ['', ' ', 'k'.repeat(256), 'k\u00e4', 'a\tb']) {
        const refused = await withKey(ann, path, key, body)
        expect([refused.status, refused.body.code, refused.body.issues?.[0].path]).toEqual([
          400,
          'INVALID',
          'Idempotency-Key',
        ])
      }
    }
  })

  it('does not count a request that was refused', async () => {
    const key = newKey()
    expect((await withKey(ann, '/api/posts', key, {title: ''})).status).toBe(400)
    expect((await withKey(visit(server().url), '/api/posts', key, {title: 'x'})).status).toBe(401)
    expect((await withKey(ann, '/api/posts', key, {title: 'right'})).body.post.title).toBe('right')
  })

  it('gives a message that is looked up by its nonce as well', async () => {
    const path = `/api/rooms/${roomId}/messages`
    const key = newKey()
    const first = await withKey(ann, path, key, {content: 'both', nonce: 'both'})
    expect((await withKey(ann, path, key, {content: 'both', nonce: 'both'})).text).toBe(first.text)
    expect((await ann.post(path, {content: 'both', nonce: 'both'})).text).toBe(first.text)
    for (const other of [{content: 'else', nonce: 'both'}, {content: 'both', nonce: 'other'}, {content: 'both'}]) {
      expect((await withKey(ann, path, key, other)).status).toBe(422)
    }
    const lookalike = await ann.post(path, {content: 'both', nonce: key})
    expect(lookalike.body.message.seq).toBeGreaterThan(first.body.message.seq)
  })

  it('creates one thing however many ask at once, on two nodes', async () => {
    const [a, b] = await startTwoNodes()
    const person = await signUp(a)
    const there = visit(b.url, person.cookies)
    const room = await newRoom(person)
    for (const [path, body, list] of [
      ['/api/posts', {title: 'once'}, '/api/posts'],
      ['/api/rooms', {name: 'once'}, '/api/rooms'],
      [`/api/rooms/${room}/messages`, {content: 'once'}, `/api/rooms/${room}/messages`],
    ] as const) {
      const before = lengthOf(await there.get(list))
      const key = newKey()
      const replies = await Promise.all(
        Array.from({length: 12}, (_, index) => withKey(index % 2 ? person : there, path, key, body)),
      )
      for (const {status, text} of replies) expect([status, text]).toEqual([200, replies[0]!.text])
      for (const node of [person, there]) expect(lengthOf(await node.get(list))).toBe(before + 1)
      const mixed = newKey()
      const bodies = Array.from({length: 6}, (_, index) => ({
        ...body,
        ...{title: `${index % 2}`, name: `${index % 2}`, content: `${index % 2}`},
      }))
      const answers = await Promise.all(
        bodies.map((one, index) => withKey(index % 3 ? person : there, path, mixed, one)),
      )
      expect(answers.map(({status}) => status).sort()).toEqual([200, 200, 200, 422, 422, 422])
    }
  })

  it('still gives the first answer after a restart and after much else', async () => {
    const before = await startServer()
    const person = await signUp(before)
    const room = await newRoom(person)
    const requests = [
      ['/api/posts', {title: 'kept'}],
      ['/api/rooms', {name: 'kept'}],
      [`/api/rooms/${room}/messages`, {content: 'kept'}],
    ] as const
    const first: Reply[] = []
    for (const [path, body] of requests) first.push(await withKey(person, path, 'kept', body))
    await Promise.all(Array.from({length: 200}, () => person.post(`/api/rooms/${room}/messages`, {content: 'x'})))
    await person.post(`/api/rooms/${first[1]!.body.room.id}/messages`, {content: 'the room has moved on'})
    await before.stop()
    const after = await startServer(before.env)
    const same = visit(after.url, person.cookies)
    for (const [index, [path, body]] of requests.entries()) {
      expect((await withKey(same, path, 'kept', body)).text).toBe(first[index]!.text)
    }
    for (const [path, body] of requests) {
      expect((await withKey(same, path, 'kept', {...body, title: 'y', name: 'y', content: 'y'})).status).toBe(422)
    }
  })
})

const lengthOf = ({body}: Reply): number => (Array.isArray(body) ? body : (body.rooms ?? body.messages)).length
