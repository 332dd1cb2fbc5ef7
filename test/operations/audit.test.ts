import {type ChildProcess, spawn} from 'node:child_process'
import {once} from 'node:events'
import {existsSync} from 'node:fs'
import {Client} from 'pg'
import {beforeAll, describe, expect, it, onTestFinished} from 'vitest'
import {community} from '../support/commandLine.ts'
import {eventually} from '../support/eventually.ts'
import {type Person, signUp, type TestServer} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'
import {storedEvents} from '../support/storedEvents.ts'

const server = sharedServer()
/** Runs a command on a terminal. */
const SCRIPT = '/usr/bin/script'

/** The server's environment for a process of its own. */
const envOf = ({env}: TestServer) => ({PATH: process.env.PATH, ...env, LOG_LEVEL: 'silent'})
const run = (...args: string[]) => community(server().env, 'audit', ...args)
const json = async (...args: string[]) => {
  const {status, stdout, stderr} = await run(...args, '--json')
  expect([status, stderr]).toEqual([0, ''])
  return JSON.parse(stdout)
}

let ann: Person
let bob: Person
let roomId: string
let postId: string
/** Of the join that was refused. */
let requestId: string
beforeAll(async () => {
  ann = await signUp(server(), {username: 'Ann', email: 'ann@example.com'})
  bob = await signUp(server(), {username: 'Bob \u001b[31m\u202e'})
  roomId = (await ann.post('/api/rooms', {name: 'Kitchen'})).body.room.id
  requestId = (await bob.post(`/api/rooms/${roomId}/join`)).body.requestId
  await ann.post(`/api/rooms/${roomId}/invite`, {userId: bob.id})
  for (let n = 0; n < 30; n++) await ann.post(`/api/rooms/${roomId}/messages`, {content: `message ${n}`})
  postId = (await ann.post('/api/posts', {title: 'Hello', body: 'x'.repeat(500)})).body.post.id
  await bob.post(`/api/rooms/${roomId}/join`)
})

describe('audit log', () => {
  const positions = async (...args: string[]): Promise<string[]> =>
    ((await json('log', ...args)) as {position: string}[]).map(({position}) => position)
  const stored = async (isWanted: (record: Awaited<ReturnType<typeof storedEvents>>[number]) => boolean) =>
    (await storedEvents(server())).filter(isWanted).map(({position}) => position.toString())

  it('filters by stream, types, actor and moments, all together', {timeout: 60_000}, async () => {
    const all = await storedEvents(server())
    const {position: middle, metadata} = all[20]!
    const time = String(metadata.time)
    expect(await positions()).toEqual(await stored(() => true))
    expect(await positions('--stream', `room-${roomId}`)).toEqual(
      await stored(({stream}) => stream === `room-${roomId}`),
    )
    expect(await positions('--type', 'SignedIn', 'UserJoined')).toEqual(
      await stored(({type}) => type === 'SignedIn' || type === 'UserJoined'),
    )
    expect(await positions('--since', middle.toString(), '--actor', bob.id)).toEqual(
      await stored(({position, metadata}) => position >= middle && metadata.actor === bob.id),
    )
    expect(await positions('--since', time)).toEqual(await stored(({metadata}) => String(metadata.time) >= time))
    expect(await positions('--until', time, '--type', 'MessageSent')).toEqual(
      await stored(({type, metadata}) => type === 'MessageSent' && String(metadata.time) <= time),
    )
    expect(await positions('--stream', 'room-nowhere')).toEqual([])
  })

  it('opens what is sealed, and tells no hash of a password or a link', async () => {
    const {stdout} = await run('log', '--format', 'ndjson')
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(events.find(({type}) => type === 'UserRegistered')).toMatchObject({
      stream: `user-${ann.id}`,
      data: {email: 'ann@example.com', username: 'Ann'},
    })
    expect(events.find(({type}) => type === 'CommandRefused')).toMatchObject({
      actor: bob.id,
      command: 'joinRoom',
      correlationId: requestId,
      causationId: null,
    })
    expect(stdout).not.toMatch(/passwordHash|tokenHash|\$2b\$/)
  })

  it('tells CloudEvents as an export has them: the same lines', async () => {
    const {stdout} = await run('log', '--format', 'cloudevents', '--type', 'UserRegistered')
    const exported = (await run('export')).stdout.split('\n')
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toEqual(exported.filter((line) => line.includes('"type":"UserRegistered"')))
    expect(lines).toHaveLength(2)
    expect(stdout).not.toContain('ann@example.com')
  })

  it('is aligned for people, without colour in a pipe, and lets nobody steer the terminal', async () => {
    const {stdout} = await run('log')
    const [head, ...lines] = stdout.trimEnd().split('\n')
    for (const column of ['TIME', 'TYPE', 'ACTOR', 'STREAM', 'DATA']) {
      const at = head!.indexOf(column)
      for (const line of lines) expect(line.slice(at - 2, at + 1)).toMatch(/^ {2}\S/)
    }
    expect(stdout).toContain('username="Bob \\u001b[31m\\u202e"')
    expect(stdout).toMatch(/body=x{80}…/)
    expect(stdout).not.toMatch(/[^\P{Cc}\n]|\p{Bidi_Control}/u)
  })

  it.skipIf(!existsSync(SCRIPT))('is coloured on a terminal, but with NO_COLOR', async () => {
    const onTerminal = async (env: object) => {
      const command = [process.execPath, 'bin/community.js', 'audit', 'log', '--type', 'UserRegistered'].join(' ')
      const child = spawn(SCRIPT, ['-qec', command, '/dev/null'], {env: {...envOf(server()), TERM: 'xterm', ...env}})
      let shown = ''
      child.stdout.on('data', (chunk) => {
        shown += chunk
      })
      await once(child, 'close')
      return shown
    }
    expect(await onTerminal({})).toContain('\u001b[36mUserRegistered')
    const plain = await onTerminal({NO_COLOR: '1'})
    expect(plain).toContain('UserRegistered')
    expect(plain).not.toContain('\u001b[36m')
  })

  it('follows what comes, of the filter, until it is interrupted', async () => {
    const child: ChildProcess = spawn(
      process.execPath,
      ['bin/community.js', 'audit', 'log', '--follow', '--stream', `chat-${roomId}`, '--format', 'ndjson'],
      {env: envOf(server())},
    )
    onTestFinished(() => void child.kill('SIGKILL'))
    let shown = ''
    child.stdout!.on('data', (chunk) => {
      shown += chunk
    })
    const seqs = () =>
      shown
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line).data.seq)
    await eventually(() => seqs().length === 30)
    await ann.post('/api/posts', {title: 'of another stream'})
    const {body} = await ann.post(`/api/rooms/${roomId}/messages`, {content: 'live'})
    await eventually(() => seqs().length === 31)
    expect(seqs()).toEqual([...Array(31).keys()])
    expect(shown).toContain(body.message.id)
    child.kill('SIGINT')
    expect((await once(child, 'close'))[0]).toBe(0)
  })

  it('ends quietly where nobody reads on', async () => {
    const child = spawn(process.execPath, ['bin/community.js', 'audit', 'log', '--follow'], {env: envOf(server())})
    onTestFinished(() => void child.kill('SIGKILL'))
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    await once(child.stdout, 'data')
    child.stdout.destroy()
    const ended = once(child, 'close')
    await ann.post('/api/posts', {title: 'one more'})
    await eventually(async () => child.exitCode !== null || (await ann.post('/api/posts', {title: 'more'})) === null)
    expect([(await ended)[0], stderr]).toEqual([0, ''])
  })
})

describe('audit show', () => {
  it('tells of a person, now and then', {timeout: 60_000}, async () => {
    const [registered, verified] = await storedEvents(server(), `user-${ann.id}`)
    const now = await json('show', `user-${ann.id}`)
    expect(now).toEqual({
      stream: `user-${ann.id}`,
      position: verified!.position.toString(),
      kind: 'verified',
      userId: ann.id,
      provider: 'email',
      identity: expect.any(String),
      email: 'ann@example.com',
      username: 'Ann',
      hasPassword: true,
      registeredAt: registered!.metadata.time,
      changedAt: verified!.metadata.time,
    })
    expect(await json('show', `user-${ann.id}`, '--as-of', String(registered!.metadata.time))).toMatchObject({
      position: registered!.position.toString(),
      kind: 'attempt',
    })
    expect(await run('show', `user-${ann.id}`, '--as-of', '1')).toMatchObject({
      status: 1,
      stdout: `There was not yet a user-${ann.id}.\n`,
    })
  })

  it('tells of a post', async () => {
    const {stdout} = await run('show', `post-${postId}`)
    expect(stdout).toMatch(/^title +Hello$/m)
    expect(await run('show', 'post-u-nowhere')).toMatchObject({status: 1, stdout: 'There is no post-u-nowhere.\n'})
  })

  it('tells of a room, with its members, invitations and newest messages, now and then', {
    timeout: 60_000,
  }, async () => {
    const now = await json('show', `room-${roomId}`)
    expect(now).toMatchObject({kind: 'room', name: 'Kitchen', createdBy: ann.id, invitations: []})
    expect(now.members).toMatchObject([{userId: ann.id, username: 'Ann', isBot: false}, {userId: bob.id}])
    expect(now.messages).toHaveLength(20)
    expect(now.messages.at(-1).seq).toBe(now.lastSeq)
    const seventh = (await storedEvents(server(), `chat-${roomId}`))[6]!
    const then = await json('show', `room-${roomId}`, '--as-of', seventh.position.toString())
    expect(then.members).toMatchObject([{userId: ann.id}])
    expect(then.invitations).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)])
    expect(then.messages.map(({content}: {content: string}) => content)).toEqual(
      [...Array(7).keys()].map((n) => `message ${n}`),
    )
    expect(then).toMatchObject({position: seventh.position.toString(), lastSeq: 6})
  })
})

describe('audit trace', () => {
  const typesIn = (events: {type: string; caused: []}[]): unknown[] =>
    events.map(({type, caused}) => (caused.length === 0 ? type : [type, typesIn(caused)]))

  it('shows what a request led to, by its id or by that of any event of it', {timeout: 60_000}, async () => {
    const {events, correlationId} = await json('trace', requestId)
    expect(correlationId).toBe(requestId)
    expect(events).toMatchObject([{type: 'CommandRefused', data: {command: 'joinRoom', refused: 'NOT_INVITED'}}])
    const signedIn = (await storedEvents(server(), `access-${ann.id}`))[0]!
    const chain = await json('trace', signedIn.id.toUpperCase())
    expect(typesIn(chain.events)).toEqual([['IdentityClaimed', [['UserVerified', ['SignedIn']]]]])
    const {stdout} = await run('trace', signedIn.id)
    expect(stdout.match(/^[^\da-z]*[A-Z]\w+(?= {2}(identity|user|access)-)/gm)).toEqual([
      'IdentityClaimed',
      '└─ UserVerified',
      '   └─ ▶ SignedIn',
    ])
  })

  it('says so where nothing bears the id', async () => {
    expect(await run('trace', 'no such id')).toMatchObject({
      status: 1,
      stdout: 'Nothing in the log bears the id no such id.\n',
    })
  })
})

describe('audit replay', () => {
  const query = async (text: string, values: unknown[] = []) => {
    const client = new Client({connectionString: server().databaseUrl})
    await client.connect()
    try {
      return (await client.query(text, values)).rows
    } finally {
      await client.end()
    }
  }
  const isThere = async (schema: string) =>
    (await query('SELECT FROM pg_namespace WHERE nspname = $1', [schema])).length === 1

  it('makes tables to query with SQL, and an erasure drops them, by HTTP and by command', {
    timeout: 60_000,
  }, async () => {
    const eve = await signUp(server(), {username: 'Eve'})
    const seventh = (await storedEvents(server(), `chat-${roomId}`))[6]!
    const time = String(seventh.metadata.time)
    const {status, stdout} = await run('replay', '--as-of', time, '--schema', 'tuesday')
    expect([status, stdout]).toEqual([0, expect.stringMatching(/^tuesday\.room_members +1$/m)])
    expect(await query('SELECT last_seq, member_count FROM tuesday.rooms')).toEqual([{last_seq: 6, member_count: 1}])
    expect(await query('SELECT username FROM tuesday.users ORDER BY 1')).toMatchObject([{username: 'Ann'}, {}])
    const first = (await storedEvents(server()))[0]!.position.toString()
    expect(await json('replay', '--as-of', first, '--schema', 'empty')).toMatchObject({position: first, events: 1})
    expect((await eve.request('DELETE', '/api/me', {})).status).toBe(200)
    expect([await isThere('tuesday'), await isThere('empty')]).toEqual([false, false])
    await json('replay', '--as-of', '1', '--schema', 'tuesday')
    expect((await community(server().env, 'users', 'erase', bob.id)).status).toBe(0)
    expect(await isThere('tuesday')).toBe(false)
  })

  it('wants a name that is free and plain, and a moment', {timeout: 60_000}, async () => {
    await query('CREATE SCHEMA taken')
    const refused = async (schema: string, asOf = '1') => {
      const {status, stdout, stderr} = await run('replay', '--as-of', asOf, '--schema', schema)
      expect(stdout).toBe('')
      return [status, stderr]
    }
    expect(await refused('taken')).toEqual([1, expect.stringMatching(/^There is a schema taken already: .*\n$/)])
    for (const ours of ['read', 'keys', 'pg_mine'])
      expect(await refused(ours)).toEqual([
        2,
        expect.stringMatching(/^\w+ is taken by the server or by PostgreSQL: .*\n$/),
      ])
    for (const name of ['Tuesday', 'a b', 'x'.repeat(64), 'x"; DROP SCHEMA log; --'])
      expect(await refused(name)).toEqual([2, expect.stringMatching(/can not be the name of the schema/)])
    expect(await refused('free', 'yesterday')).toEqual([2, expect.stringMatching(/neither a time/)])
    expect(await isThere('free')).toBe(false)
  })
})
