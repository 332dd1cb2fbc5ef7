import {mkdtemp, readdir} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {PassThrough} from 'node:stream'
import {setTimeout as pause} from 'node:timers/promises'
import {Client} from 'pg'
import {describe, expect, it} from 'vitest'
import type {Parts} from '../../src/edge/parts.ts'
import {accountRoutes} from '../../src/http/accountRoutes.ts'
import {newRoomId} from '../../src/keys/ids.ts'
import type {EventLog} from '../../src/log/eventLog.ts'
import {sent} from '../support/events.ts'
import {eventually} from '../support/eventually.ts'
import {startOauthPeer} from '../support/oauthPeer.ts'
import {overEachLog} from '../support/place.ts'
import {eventsOf, roomOf} from '../support/rooms.ts'
import {connect, type Person, signUp, startServer, type TestServer, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'
import {person} from '../support/specification.ts'
import {startTwoNodes} from '../support/twoNodes.ts'
import {plain} from '../uploads/images.ts'
import {startOssPeer} from '../uploads/ossPeer.ts'

const query = async ({databaseUrl}: {databaseUrl: string}, text: string, values: unknown[] = []) => {
  const client = new Client({connectionString: databaseUrl})
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

/** As if the person had signed in this long ago. */
const signedInAgo = (server: TestServer, {id}: {id: string}, minutes: number) =>
  query(
    server,
    `UPDATE state.sessions SET sess = jsonb_set(sess::jsonb, '{signedInAt}', to_jsonb($2::float8)) WHERE sess->>'userId' = $1`,
    [id, Date.now() - minutes * 60_000],
  )

const upload = async ({url, cookies}: Person): Promise<void> => {
  const body = new FormData()
  body.append('file', new Blob([new Uint8Array(await plain(8, 8, 'png'))]))
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  expect((await fetch(new URL('/api/upload', url), {method: 'POST', body, headers: {cookie}})).status).toBe(200)
}

const erase = (who: Pick<Person, 'request'>, body: unknown = {}) => who.request('DELETE', '/api/me', body)

describe('eraseUser', () => {
  const server = sharedServer()

  it('wants the password, and no other; an older login does not do', async () => {
    const ann = await signUp(server(), {password: 'the right one'})
    expect((await erase(visit(server().url))).status).toBe(401)
    expect((await erase(ann, {password: 'a wrong one'})).body.code).toBe('WRONG_CREDENTIALS')
    await signedInAgo(server(), ann, 5)
    expect((await erase(ann)).body.code).toBe('WRONG_CREDENTIALS')
    expect((await ann.get('/api/me')).status).toBe(200)
    const done = await erase(ann, {password: 'the right one'})
    expect([done.status, done.body]).toEqual([200, {ok: true}])
    expect(done.headers.getSetCookie().join()).toMatch(/sid=;.*Expires=Thu, 01 Jan 1970/)
    expect((await ann.get('/api/me')).status).toBe(401)
    expect(
      await query(server(), 'SELECT wrapped, erased_at IS NULL AS open FROM keys.people WHERE person = $1', [ann.id]),
    ).toEqual([{wrapped: null, open: false}])
  })

  it('does with a login less than five minutes old, also without a body', async () => {
    const ann = await signUp(server())
    await signedInAgo(server(), ann, 4.8)
    expect((await ann.request('DELETE', '/api/me')).body).toEqual({ok: true})
  })

  it('takes a fresh login of who came by a provider and has no password', async () => {
    const peer = await startOauthPeer()
    const own = await startServer({
      DISCORD_CLIENT_ID: peer.clientId,
      DISCORD_CLIENT_SECRET: peer.clientSecret,
      DISCORD_ORIGIN: peer.url,
    })
    peer.profile = {id: '80351110224678912', username: 'Nelly', email: 'nelly@example.com', verified: true}
    const signIn = async () => {
      const visitor = visit(own.url)
      const begun = await visitor.get('/api/login')
      const asked = await fetch(begun.headers.get('location')!, {redirect: 'manual'})
      const back = new URL(asked.headers.get('location')!)
      await visitor.get(back.pathname + back.search)
      return {...visitor, id: (await visitor.get('/api/me')).body.user.id as string}
    }
    const nelly = await signIn()
    await signedInAgo(own, nelly, 6)
    for (const body of [{}, {password: ''}, {password: 'any'}]) {
      expect((await erase(nelly, body)).body.code).toBe('WRONG_CREDENTIALS')
    }
    expect((await erase(await signIn())).body).toEqual({ok: true})
    const again = await signIn()
    expect(again.id).not.toBe(nelly.id)
    expect((await again.get('/api/me/export')).text).not.toContain(nelly.id)
    await peer.stop()
  })

  it('deletes uploads, those in the bucket and those that an earlier configuration left on the disk', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'community-uploads-'))
    const onDisk = await startServer({UPLOAD_DIR: dir})
    const ann = await signUp(onDisk)
    const files = async () =>
      (await readdir(dir, {recursive: true, withFileTypes: true})).filter((one) => one.isFile()).length
    await upload(ann)
    expect(await files()).toBe(1)
    await onDisk.stop()
    const peer = await startOssPeer()
    const inBucket = await startServer({...onDisk.env, ...peer.env})
    const again = {...ann, ...visit(inBucket.url, ann.cookies)}
    await upload(again)
    expect(peer.objects.size).toBe(1)
    expect((await erase(again)).body).toEqual({ok: true})
    expect([peer.objects.size, await files()]).toEqual([0, 0])
  })

  it('is nothing for bots', async () => {
    const bot = await fetch(`${server().url}/api/me`, {
      method: 'DELETE',
      headers: {authorization: 'Bearer a-token-that-only-the-bots-know', 'content-type': 'application/json'},
      body: '{}',
    })
    expect(bot.status).toBe(401)
  })

  it('reaches every node within a second: sessions, sockets, keys and what is remembered', {
    timeout: 60_000,
  }, async () => {
    const [one, two] = await startTwoNodes()
    const ann = await signUp(one, {username: 'Annabella'})
    const bob = await signUp(two)
    const roomId = await roomOf(ann, bob)
    await ann.post(`/api/rooms/${roomId}/messages`, {content: 'a word of Ann'})
    await ann.post('/api/posts', {title: 'a word of Ann'}, {'idempotency-key': 'k'})
    const elsewhere = visit(two.url, new Map(ann.cookies))
    const [hers, his] = [await connect(elsewhere), await connect(bob)]
    const replay = async () => {
      const from = his.received.length
      expect((await his.ask('join_room', roomId, {since: -1})).ok).toBe(true)
      return his.received.slice(from).find(({name}) => name === 'message')!.args[0]
    }
    expect(await replay()).toMatchObject({content: 'a word of Ann', username: 'Annabella'})
    expect((await bob.get('/api/posts')).text).toContain('a word of Ann')

    // What is under way on the other node meanwhile ends up erased as well, whichever way round they come into the log.
    const writing = Promise.all(
      Array.from({length: 40}, (_, n) => elsewhere.post('/api/posts', {title: `late word of Ann ${n}`})),
    )
    expect((await erase(ann)).body).toEqual({ok: true})
    const ms = 1_000
    await eventually(() => !hers.connected, {ms, what: 'the socket to close'})
    await eventually(async () => (await elsewhere.get('/api/me')).status === 401, {ms})
    await eventually(() => eventsOf(his, 'room').some((event) => (event as {kind: string}).kind === 'left'), {ms})
    expect(eventsOf(his, 'room')).toContainEqual({roomId, kind: 'left', userId: ann.id, username: '[erased]'})
    expect(await replay()).toMatchObject({content: '[erased]', username: '[erased]'})
    const written = (await writing).filter(({status}) => status === 200).length
    const {text, body} = await bob.get('/api/posts')
    expect(body).toHaveLength(1 + written)
    expect(text).toContain('[erased]')
    expect(text).not.toMatch(/Ann/)
    expect((await bob.get(`/api/rooms/${roomId}`)).body).toMatchObject({
      members: [{userId: bob.id}],
      messages: [{content: '[erased]', username: '[erased]'}],
    })
  })
})

describe('exportMe', () => {
  const server = sharedServer()
  type Exported = {user: object; events: {type: string; stream: string; data: Record<string, unknown>}[]}

  it('holds everything about oneself, nothing personal of others, and no secret', async () => {
    const [ann, bob] = [await signUp(server(), {username: 'Ann'}), await signUp(server(), {username: 'Bob'})]
    await visit(server().url).post('/api/email/register', {
      email: 'both@example.com',
      password: 'secret',
      username: 'Other',
    })
    const both = await signUp(server(), {email: 'both@example.com', username: 'Both'})
    const roomId = await roomOf(ann, bob)
    const {room} = (await bob.post('/api/rooms', {name: 'Invited'})).body
    for (const {email} of [ann, both]) await bob.post(`/api/rooms/${room.id}/invite`, {userId: email})
    await ann.post('/api/posts', {title: 'title of Ann', body: 'body of Ann', attachments: ['https://ann.example']})
    await bob.post('/api/posts', {title: 'title of Bob'})
    await ann.post(`/api/rooms/${roomId}/messages`, {content: 'message of Ann'})
    await bob.post(`/api/rooms/${roomId}/messages`, {content: 'message of Bob'})
    await visit(server().url).post('/api/email/forgot', {email: ann.email})

    const reply = await ann.get('/api/me/export')
    const {user, events} = reply.body as Exported
    expect(reply.headers.get('content-disposition')).toContain('attachment')
    expect(user).toEqual({id: ann.id, username: 'Ann', provider: 'email', email: ann.email})
    expect(events.map(({type}) => type)).toEqual([
      'UserRegistered',
      'IdentityClaimed',
      'UserVerified',
      'SignedIn',
      'RoomCreated',
      'UserJoined',
      'UserInvited',
      'PostCreated',
      'MessageSent',
      'PasswordResetRequested',
    ])
    expect(events[0]!.data).toMatchObject({email: ann.email, username: 'Ann'})
    expect(events[6]!.data).toMatchObject({inviterId: bob.id, roomId: room.id})
    expect(events[7]!.data).toMatchObject({title: 'title of Ann', attachments: ['https://ann.example']})
    expect(reply.text).not.toMatch(/Bob|passwordHash|tokenHash|\$2b\$/)
    const {text, body} = await both.get('/api/me/export')
    // One of the two attempts became the person; the other one is somebody else's.
    expect(['Other', 'Both'].filter((name) => text.includes(name))).toEqual([body.user.username])
    expect(text).not.toMatch(/Bob|Ann\b/)
    expect((await visit(server().url).get('/api/me/export')).status).toBe(401)
  })

  overEachLog((here) => {
    it('reads no further ahead than the client reads, of 20,000 events', {timeout: 60_000}, async () => {
      const ann = person('Ann')
      const roomId = newRoomId()
      for (let from = 0; from < EVENTS; from += 500) {
        await here.place.given(...Array.from({length: 500}, (_, index) => sent(roomId, from + index, ann)))
      }
      let read = 0
      const {codec, log} = here.place
      const counted: EventLog = {
        ...log,
        readAll: async function* (options) {
          for await (const page of log.readAll(options)) {
            read += page.length
            yield page
          }
        },
      }
      const route = accountRoutes({log: counted, codec} as Parts).find(({operationId}) => operationId === 'exportMe')!
      const res = Object.assign(new PassThrough(), {set: () => {}})
      const done = route.handle({by: {...ann, provider: 'email', email: null}, res} as never)
      let text = ''
      let ahead = 0
      for await (const chunk of res) {
        text += chunk
        // The client stands still until nothing more is read for it.
        for (let before = -1; ahead === 0 && read > before; await pause(300)) before = read
        ahead ||= read
        if (text.endsWith(']}\n')) break
      }
      await done
      expect((JSON.parse(text) as Exported).events).toHaveLength(EVENTS)
      expect(ahead).toBeLessThan(2_000)
    })
  })
})

const EVENTS = 20_000
