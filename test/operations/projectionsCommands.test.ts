import {type ChildProcess, spawn, spawnSync} from 'node:child_process'
import {randomUUID} from 'node:crypto'
import {once} from 'node:events'
import {mkdtemp, rm} from 'node:fs/promises'
import {Agent, get} from 'node:http'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it, onTestFinished} from 'vitest'
import {readConfig} from '../../src/config.ts'
import type {RoomId} from '../../src/domain/room.ts'
import type {Actor} from '../../src/domain/user.ts'
import {openFoundation, openLog} from '../../src/foundation.ts'
import {loadSecrets} from '../../src/keys/secrets.ts'
import {type Generation, readGenerations} from '../../src/projections/generations.ts'
import {messages} from '../../src/projections/messages.ts'
import {posts} from '../../src/projections/posts.ts'
import {roomMembers} from '../../src/projections/roomMembers.ts'
import {search} from '../../src/projections/search.ts'
import {tables} from '../../src/projections/tables.ts'
import {chatStream} from '../../src/streams/streams.ts'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {sent} from '../support/events.ts'
import {eventually} from '../support/eventually.ts'
import {roomOf} from '../support/rooms.ts'
import {type Person, signUp, startServer, type TestServer, visit} from '../support/server.ts'
import {endAll, postgresPid, spawnServer} from '../support/serverProcess.ts'
import {sharedServer} from '../support/sharedServer.ts'

const folders: string[] = []
afterAll(async () => {
  await endAll(folders)
  for (const folder of folders) await rm(folder, {recursive: true, force: true})
})

const poolOf = (databaseUrl: string): Pool => {
  const pool = new Pool({connectionString: databaseUrl, max: 2})
  onTestFinished(() => pool.end())
  return pool
}
const json = ({stdout}: {stdout: string}) => JSON.parse(stdout)
const statesOf = async (pool: Pool, table: Generation['table']) =>
  (await readGenerations(pool, [table])).map(({generation, state}) => [generation, state])

/** An event of this type that no version of the server can read. */
const appendUnreadable = async (
  {env, databaseUrl}: TestServer,
  type: string,
): Promise<{id: string; position: bigint}> => {
  const log = await openLog(readConfig(env), databaseUrl, () => {})
  try {
    const metadata = {
      version: 99,
      time: new Date().toISOString(),
      actor: null,
      command: '',
      correlationId: '',
      causationId: null,
    }
    const id = randomUUID()
    const appended = await log.append(`unreadable-${id}`, [{id, type, data: {}, metadata}], 'none')
    return {id, position: appended.ok ? appended.position : -1n}
  } finally {
    await log.close()
  }
}

/** So many messages, in the log as if the person had sent them. */
const fill = async ({env, databaseUrl}: TestServer, roomId: string, by: Person, count: number): Promise<void> => {
  const config = readConfig(env)
  const foundation = await openFoundation(config, {
    url: databaseUrl,
    secrets: await loadSecrets(config),
    onTrouble: () => {},
  })
  const sender = {userId: by.id, username: by.username, isBot: false} as Actor
  try {
    for (let from = 0; from < count; from += 500) {
      const events = Array.from({length: 500}, (_, n) => sent(roomId as RoomId, from + n, sender))
      const metadata = {
        time: new Date().toISOString(),
        actor: null,
        command: 'fill',
        correlationId: '',
        causationId: null,
      }
      const records = await Promise.all(
        events.map((event) => foundation.codec.encode({id: randomUUID(), event, metadata})),
      )
      await foundation.log.append(chatStream(roomId as RoomId), records, from === 0 ? 'none' : from - 1)
    }
  } finally {
    await foundation.close()
  }
}

/** The command line in a process that the test may kill. */
const begin = (env: NodeJS.ProcessEnv, ...args: string[]) => {
  const child = spawn(process.execPath, ['bin/community.js', ...args], {env: {PATH: process.env.PATH, ...env}})
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const ended = once(child, 'close').then(([status]) => ({status: status as number | null, stderr}))
  return {child: child as ChildProcess, ended}
}

describe('projections', () => {
  const server = sharedServer()
  let ann: Person
  let roomId: string
  beforeAll(async () => {
    ann = await signUp(server(), {username: 'Ann'})
    roomId = await roomOf(ann)
    for (let n = 0; n < 12; n++) {
      await ann.post('/api/posts', {title: `post ${n}`})
      await ann.post(`/api/rooms/${roomId}/messages`, {content: `message ${n}`})
    }
  })

  it('list says version, generation, position, lag and state of each table', async () => {
    const listed = json(await community(server().env, 'projections', 'list', '--json'))
    expect(listed.projections.map(({name}: {name: string}) => name).toSorted()).toEqual(
      tables.map(({name}) => name).toSorted(),
    )
    for (const one of listed.projections)
      expect(one).toEqual({
        name: one.name,
        version: 1,
        generation: 1,
        state: 'live',
        position: listed.head,
        lag: '0',
        fault: null,
      })
    const {stdout, status} = await community(server().env, 'projections', 'list')
    expect(stdout.split('\n')[0]).toMatch(/^name +version +generation +state +position +lag$/)
    expect(stdout).toMatch(/^posts +1 +1 +live +\d+ +0$/m)
    expect(status).toBe(0)
  })

  it.each([['list'], ['rebuild'], ['verify'], ['rollback']])('%s --help shows an example', async (command) => {
    const {status, stdout} = await community({}, 'projections', command, '--help')
    expect(status).toBe(0)
    expect(stdout).toMatch(new RegExp(`Example:\\n  npm run -s community -- projections ${command}`))
    expect(stdout).toContain('--json')
  })

  it.each([
    [['rebuild']],
    [['rebuild', 'nothing']],
    [['rebuild', 'posts', '--all']],
    [['rollback']],
    [['rollback', 'nothing']],
    [['verify', '--nothing']],
    [['nothing']],
  ])('%j is wrong usage', async (args) => {
    const {status, stdout, stderr} = await community(server().env, 'projections', ...args)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).not.toBe('')
  })

  it('rebuild makes a new generation live, and rollback the one before, which was fed meanwhile', async () => {
    const pool = poolOf(server().databaseUrl)
    const rebuilt = await community(server().env, 'projections', 'rebuild', 'posts', '--json')
    expect(rebuilt).toMatchObject({status: 0, stderr: ''})
    expect(json(rebuilt)).toEqual([{name: 'posts', generation: 2, rows: 12, differing: 0, differences: []}])
    expect(await statesOf(pool, posts)).toEqual([
      [1, 'kept'],
      [2, 'live'],
    ])
    await ann.post('/api/posts', {title: 'after the rebuild'})
    const {stdout, status} = await community(server().env, 'projections', 'rollback', 'posts')
    expect([status, stdout]).toEqual([0, 'posts: generation 1 is live again.\n'])
    expect((await ann.get('/api/posts')).body[0].title).toBe('after the rebuild')
    await ann.post('/api/posts', {title: 'after the rollback'})
    expect((await ann.get('/api/posts')).body[0].title).toBe('after the rollback')
    await community(server().env, 'projections', 'rebuild', 'posts')
    expect(await statesOf(pool, posts)).toEqual([
      [1, 'kept'],
      [3, 'live'],
    ])
    expect((await ann.get('/api/posts')).body).toHaveLength(14)
    const none = await community(server().env, 'projections', 'rollback', 'users')
    expect([none.status, none.stdout]).toEqual([1, 'users: there is no earlier generation.\n'])
  })

  it('verify sees a view that shows another table, and prints all that it has to say into a pipe', async () => {
    const pool = poolOf(server().databaseUrl)
    const shown = (await ann.get('/api/posts')).body
    await pool.query(`CREATE TABLE elsewhere AS TABLE ${posts.view}`)
    await pool.query(`INSERT INTO elsewhere SELECT 'u-' || n FROM generate_series(1, 1500) n`)
    await pool.query(`CREATE OR REPLACE VIEW ${posts.view} AS SELECT * FROM elsewhere`)
    const verified = await community(server().env, 'projections', 'verify', '--json')
    expect(verified.status).toBe(1)
    expect(verified.stdout.length).toBeGreaterThan(70_000)
    expect(json(verified)).toContainEqual(expect.objectContaining({name: 'posts', differing: 1_500}))
    expect(await community(server().env, 'projections', 'rebuild', 'posts')).toMatchObject({status: 0})
    expect(await community(server().env, 'projections', 'verify')).toMatchObject({status: 0})
    expect((await ann.get('/api/posts')).body).toEqual(shown)
  })

  it('verify names the rows that are not as the log says: altered, missing and extra; rebuild mends them', async () => {
    const pool = poolOf(server().databaseUrl)
    expect(await community(server().env, 'projections', 'verify')).toMatchObject({status: 0, stderr: ''})
    const [first, second] = (await ann.get('/api/posts')).body
    await pool.query(`UPDATE ${posts.view} SET title = 'altered by hand' WHERE id = $1`, [first.id])
    await pool.query(`DELETE FROM ${posts.view} WHERE id = $1`, [second.id])
    await pool.query(`INSERT INTO ${messages.view} (room_id, seq) VALUES ('r-of-nobody', 7)`)
    await pool.query(
      `UPDATE ${search.view} SET words = '''post'':2A' WHERE position = (SELECT max(position) FROM ${search.view})`,
    )
    await pool.query(`UPDATE ${roomMembers.view} SET joined_at = joined_at + interval '1 ms'`)
    const {rows: newest} = await pool.query(`SELECT max(position) AS position FROM ${search.view}`)
    const verified = await community(server().env, 'projections', 'verify', '--json')
    expect(verified.status).toBe(1)
    const differing = new Map(
      json(verified).map(({name, differences}: {name: string; differences: unknown}) => [name, differences]),
    )
    expect(differing.get('posts')).toEqual(
      expect.arrayContaining([
        {key: {id: first.id}, difference: 'altered'},
        {key: {id: second.id}, difference: 'missing'},
      ]),
    )
    expect(differing.get('messages')).toEqual([{key: {room_id: 'r-of-nobody', seq: 7}, difference: 'extra'}])
    expect(differing.get('search')).toEqual([{key: {position: Number(newest[0].position)}, difference: 'altered'}])
    expect(differing.get('room_members')).toEqual([{key: {room_id: roomId, user_id: ann.id}, difference: 'altered'}])
    for (const name of ['users', 'rooms', 'room_invitations', 'erasures']) expect(differing.get(name)).toEqual([])
    expect((await community(server().env, 'projections', 'verify')).stdout).toContain(
      `posts: 2 of 14 rows are not as the log says:\n`,
    )

    const mended = await community(
      server().env,
      'projections',
      'rebuild',
      'posts',
      'messages',
      'search',
      'room_members',
    )
    expect(mended.status).toBe(0)
    expect(mended.stdout).toMatch(
      /^posts: generation \d+ is live, 14 rows; 2 were not what the log says, and are now\.$/m,
    )
    expect(await community(server().env, 'projections', 'verify')).toMatchObject({status: 0})
    expect((await ann.get('/api/posts')).body.slice(0, 2)).toEqual([first, second])
    for (const table of tables)
      expect((await statesOf(pool, table)).every(([, state]) => state === 'live' || state === 'kept')).toBe(true)
  })

  it('lets only one command at a time build a table', async () => {
    const pool = poolOf(server().databaseUrl)
    const holder = await pool.connect()
    await holder.query('SELECT pg_advisory_lock(hashtext($1))', [`community builder of ${posts.view}`])
    const refused = await community(server().env, 'projections', 'rebuild', 'posts')
    expect(refused).toMatchObject({status: 1, stderr: 'posts is being rebuilt or verified by another command.\n'})
    holder.release(true)
  })
})

describe('an event that a table can not take', () => {
  it('stops that table alone, is named everywhere, keeps a rebuild from being switched to, and once mended is gone past', {
    timeout: 60_000,
  }, async () => {
    const server = await startServer()
    const pool = poolOf(server.databaseUrl)
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    await ann.post('/api/posts', {title: 'before'})
    const {id, position} = await appendUnreadable(server, 'PostCreated')
    const fault = `event ${id} at position ${position} (revision 0 of unreadable-${id}): version 99 of PostCreated is not known`
    const ready = await eventually(async () => {
      const reply = await ann.get('/readyz')
      const {posts, search} = reply.body.projections
      return posts.error && search.error ? reply : null
    })
    expect(ready.status).toBe(503)
    const {posts: stopped, search: too, ...others} = ready.body.projections
    for (const one of [stopped, too]) expect(one).toMatchObject({ok: false, error: fault})
    for (const one of Object.values(others)) expect(one).toMatchObject({ok: true})
    const samples = (await ann.get('/metrics')).text
    expect(samples).toContain(`community_projection_faulted{projection="posts",fault="${fault}"} 1`)
    expect(samples).toContain('community_projection_faulted{projection="rooms"} 0')
    const listed = await community(server.env, 'projections', 'list')
    expect(listed.stdout).toMatch(new RegExp(`^posts .* stopped .*${id}.*version 99`, 'm'))
    expect(listed.stdout).toMatch(/^rooms .* live /m)
    expect((await ann.post(`/api/rooms/${roomId}/messages`, {content: 'x'})).status).toBe(200)
    expect((await ann.get(`/api/rooms/${roomId}/messages`)).body.messages).toHaveLength(1)

    const before = await statesOf(pool, posts)
    const rebuilt = await community(server.env, 'projections', 'rebuild', 'posts', 'rooms')
    expect(rebuilt.status).toBe(1)
    expect(rebuilt.stdout).toContain(`posts: stopped at ${fault}\n`)
    expect(rebuilt.stdout).toContain('rooms: generation 2 is live, 1 rows')
    expect((await statesOf(pool, posts)).filter(([, state]) => state === 'live')).toEqual(before)
    const verified = await community(server.env, 'projections', 'verify', '--json')
    expect(verified.status).toBe(1)
    expect(json(verified)).toContainEqual({name: 'posts', fault})
    await server.stop()

    if (server.env.EVENTSTORE_URL) return
    await pool.query(`UPDATE log.events SET type = 'SignedIn' WHERE id = $1`, [id])
    const again = await startServer(server.env)
    await eventually(async () => (await visit(again.url).get('/readyz')).status === 200)
    expect(await community(again.env, 'projections', 'verify')).toMatchObject({status: 0})
  })

  it('is passed by a rebuild where only the live table can not take it', async () => {
    const server = await startServer()
    const pool = poolOf(server.databaseUrl)
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    // A row that nobody wrote keeps the next message from being stored.
    await pool.query(`INSERT INTO ${messages.view} (room_id, seq, user_id, nonce) VALUES ($1, 99, $2, 'n')`, [
      roomId,
      ann.id,
    ])
    await ann.post(`/api/rooms/${roomId}/messages`, {content: 'x', nonce: 'n'})
    await eventually(async () => (await ann.get('/readyz')).body.projections.messages.error)
    const rebuilt = await community(server.env, 'projections', 'rebuild', 'messages')
    expect(rebuilt.status, rebuilt.stderr).toBe(0)
    expect(rebuilt.stdout).toMatch(
      /^messages: generation 2 is live; the one before it had stopped at event .* duplicate key/,
    )
    await eventually(async () => (await ann.get('/readyz')).status === 200)
    expect((await ann.get(`/api/rooms/${roomId}/messages`)).body.messages).toMatchObject([{seq: 0, content: 'x'}])
  })
})

describe('projections rebuild', () => {
  it('goes on where it was killed, at whatever moment, while the server serves and more is written', {
    timeout: 120_000,
  }, async () => {
    const server = await startServer()
    const pool = poolOf(server.databaseUrl)
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    await fill(server, roomId, ann, 8_000)
    let written = 8_000
    let stopped = false
    const writing = (async () => {
      while (!stopped)
        if ((await ann.post(`/api/rooms/${roomId}/messages`, {content: 'more'})).status === 200) written++
    })()
    const resumed: bigint[] = []
    let killed = 0
    const built = async () =>
      (await statesOf(pool, messages)).some(([number, state]) => state === 'live' && number !== 1)
    // The first ones are killed while they build, later ones whenever it comes to it.
    for (let run = 0; run < 8 && !(await built()); run++) {
      const {child, ended} = begin(server.env, 'projections', 'rebuild', 'messages')
      const isBuilding = async () => {
        const beside = (await readGenerations(pool, [messages])).find(({state}) => state === 'building')
        if (beside?.position && run < 3) return beside.position > (resumed.at(-1) ?? 0n)
        return run < 3 ? child.exitCode !== null : true
      }
      await eventually(isBuilding, {ms: 30_000})
      if (run >= 3) await pause(Math.random() * 1_500)
      child.kill('SIGKILL')
      await ended
      killed++
      const beside = (await readGenerations(pool, [messages])).find(({state}) => state === 'building')
      if (beside?.position) resumed.push(beside.position)
    }
    const last = await community(server.env, 'projections', 'rebuild', 'messages', '--json')
    stopped = true
    await writing
    expect(last).toMatchObject({status: 0, stderr: ''})
    expect(killed).toBeGreaterThan(2)
    // It was one generation that grew, not one begun anew each time.
    expect(resumed.length).toBeGreaterThan(1)
    expect(resumed).toEqual(resumed.toSorted((a, b) => Number(a - b)))
    const [result] = json(last)
    expect(result.differing).toBe(0)
    expect(await community(server.env, 'projections', 'verify')).toMatchObject({status: 0})
    const {rows} = await pool.query(`SELECT count(*)::int AS count FROM ${messages.view}`)
    expect(rows[0].count).toBe(written)
  })

  it('under 500 reads a second fails none of them, and none sees less than was there', {timeout: 90_000}, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'community-load-'))
    folders.push(folder)
    const server = await spawnServer(folder, {
      env: {
        DATABASE_URL: await createDatabase(),
        SESSION_SECRET: 'x'.repeat(40),
        MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
      },
    })
    const ann = await signUp(server)
    const roomId = await roomOf(ann)
    for (let n = 0; n < 40; n++) {
      await ann.post('/api/posts', {title: `post ${n}`})
      await ann.post(`/api/rooms/${roomId}/messages`, {content: `message ${n}`})
    }
    const cookie = [...ann.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const agent = new Agent({keepAlive: true, maxSockets: 32})
    onTestFinished(() => agent.destroy())
    const wrong: string[] = []
    let answered = 0
    const read = (path: string, isWhole: (body: never) => boolean) =>
      new Promise<void>((resolve) => {
        const failed = (why: unknown) => {
          wrong.push(`${path}: ${why}`)
          resolve()
        }
        get(new URL(path, server.url), {agent, headers: {cookie}}, (response) => {
          let text = ''
          response.on('data', (chunk) => {
            text += chunk
          })
          response.on('error', failed)
          response.on('end', () => {
            answered++
            if (response.statusCode !== 200) failed(`${response.statusCode} ${text}`)
            else if (!isWhole(JSON.parse(text) as never)) failed(`only ${text.slice(0, 200)}`)
            resolve()
          })
        }).on('error', failed)
      })
    const reads = [
      () => read('/api/posts', (list: unknown[]) => list.length >= 40),
      () => read(`/api/rooms/${roomId}/messages`, ({messages}: {messages: unknown[]}) => messages.length >= 40),
      () => read('/api/search?q=post&limit=50', ({results}: {results: unknown[]}) => results.length >= 40),
      () => read('/api/rooms', ({rooms}: {rooms: unknown[]}) => rooms.length === 1),
      () => read('/api/me', ({user}: {user: {id: string}}) => user.id === ann.id),
    ]
    const began = performance.now()
    let begun = 0
    let over = false
    const pending = new Set<Promise<void>>()
    const loading = (async () => {
      while (!over) {
        const due = ((performance.now() - began) / 1_000) * 500
        for (; begun < due; begun++) {
          const one: Promise<void> = reads[begun % reads.length]!().finally(() => pending.delete(one))
          pending.add(one)
        }
        await pause(4)
      }
      await Promise.all(pending)
    })()
    const rebuilt = await community(server.env, 'projections', 'rebuild', '--all', '--json')
    const back = await community(server.env, 'projections', 'rollback', 'posts')
    over = true
    const seconds = (performance.now() - began) / 1_000
    await loading
    expect([rebuilt.status, back.status]).toEqual([0, 0])
    expect(json(rebuilt).map(({differing}: {differing: number}) => differing)).toEqual(tables.map(() => 0))
    expect(wrong).toEqual([])
    expect(answered).toBe(begun)
    expect(begun / seconds).toBeGreaterThan(480)
    expect(server.stderr()).toBe('')
    await server.stop()
  })

  it('waits for who reads for long, and lets nobody else wait for it', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    await ann.post('/api/posts', {title: 'x'})
    const pool = poolOf(server.databaseUrl)
    const reader = await pool.connect()
    await reader.query('BEGIN')
    await reader.query(`SELECT FROM ${posts.view}`)
    const {child, ended} = begin(server.env, 'projections', 'rebuild', 'posts')
    await eventually(async () => (await statesOf(pool, posts)).some(([, state]) => state === 'joined'))
    const waits: number[] = []
    for (const until = Date.now() + 1_500; Date.now() < until; ) {
      const began = performance.now()
      expect((await ann.get('/api/posts')).status).toBe(200)
      waits.push(performance.now() - began)
    }
    expect(child.exitCode).toBeNull()
    expect(Math.max(...waits)).toBeLessThan(1_000)
    await reader.query('COMMIT')
    reader.release()
    expect(await ended).toEqual({status: 0, stderr: ''})
    expect(await statesOf(pool, posts)).toEqual([
      [1, 'kept'],
      [2, 'live'],
    ])
  })

  const hasScript = spawnSync('script', ['--version']).status === 0
  it.skipIf(!hasScript)('shows how far it is, how fast, and how long it will take, on a terminal only', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    await ann.post('/api/posts', {title: 'x'})
    const env = {PATH: process.env.PATH, ...server.env, TERM: 'xterm'}
    const command = `'${process.execPath}' bin/community.js projections rebuild posts`
    const seen = await new Promise<string>((resolve, reject) => {
      const child = spawn('script', ['-qec', command, '/dev/null'], {
        env: env as NodeJS.ProcessEnv,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let text = ''
      child.stdout.on('data', (chunk) => {
        text += chunk
      })
      child.on('error', reject)
      child.on('close', () => resolve(text))
    })
    expect(seen).toMatch(/posts .*100% \| \d+ events \| \d+\/s \| \S+ left/)
    expect(seen).toContain('posts: generation 2 is live, 1 rows, the same as before.')
    expect(await community(server.env, 'projections', 'rebuild', 'posts')).toMatchObject({status: 0, stderr: ''})
  })

  it('works where no server runs: it starts the embedded database, feeds the tables, and stops it again', {
    timeout: 90_000,
  }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'community-alone-'))
    folders.push(folder)
    const server = await spawnServer(folder)
    const ann = await signUp(server)
    await ann.post('/api/posts', {title: 'kept'})
    expect(await server.end('SIGKILL')).toMatchObject({signal: 'SIGKILL'})
    process.kill((await postgresPid(folder))!, 'SIGQUIT')
    await eventually(async () => (await postgresPid(folder)) === null)
    const rebuilt = await community(server.env, 'projections', 'rebuild', '--all', '--json')
    expect(rebuilt.status, rebuilt.stderr).toBe(0)
    expect(json(rebuilt).map(({differing}: {differing: number}) => differing)).toEqual(tables.map(() => 0))
    expect(await community(server.env, 'projections', 'verify')).toMatchObject({status: 0})
    expect(json(await community(server.env, 'projections', 'list', '--json')).projections).toHaveLength(
      tables.length * 2,
    )
    expect(await postgresPid(folder)).toBeNull()
    const again = await spawnServer(folder)
    expect((await visit(again.url, ann.cookies).get('/api/posts')).body).toMatchObject([{title: 'kept'}])
    await again.stop()
  })
})
