import {randomBytes} from 'node:crypto'
import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it, onTestFinished} from 'vitest'
import {newCheckout} from '../support/checkout.ts'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {roomOf} from '../support/rooms.ts'
import {type Person, signUp, visit} from '../support/server.ts'
import {endAll, type SpawnOptions, spawnProcess, spawnServer} from '../support/serverProcess.ts'

let dataDir: string
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'community-tables-'))
})
afterAll(async () => {
  await endAll([])
  await rm(dataDir, {recursive: true, force: true})
})

/** A database for several servers, each in a process of its own. */
const newPlace = async () => {
  const env = {
    DATABASE_URL: await createDatabase(),
    SESSION_SECRET: 'a secret for tests, thirty-two characters and more',
    MASTER_KEY: randomBytes(32).toString('base64'),
  }
  const pool = new Pool({connectionString: env.DATABASE_URL, max: 2})
  onTestFinished(() => pool.end())
  const start = async (options: SpawnOptions = {}) => {
    const server = await spawnServer(dataDir, {...options, env})
    onTestFinished(() => server.stop())
    return server
  }
  return {env, pool, start}
}

const titles = async (url: string): Promise<string[]> => {
  const {status, body} = await visit(url).get('/api/posts')
  expect(status).toBe(200)
  return body.map(({title}: {title: string}) => title)
}

const TITLES = `
import {readTable} from './readTable.ts'

export const titles = readTable({
  name: 'titles',
  version: 1,
  columns: {title: 'text', count: 'int', author_id: 'text'},
  key: ['title'],
  indexes: ['(count)'],
  erased: [{where: 'author_id', set: null}],
  handlers: {PostCreated: ({data}, rows) => rows.put({title: data.title, count: 1, author_id: data.authorId})},
})
`

describe('a new file in src/projections', () => {
  it('is a read table: built, fed, listed, verified, and told of in /readyz', async () => {
    const {env, pool, start} = await newPlace()
    const before = await start()
    await (await signUp(before)).post('/api/posts', {title: 'before'})
    await before.stop()
    const checkout = await newCheckout()
    await checkout.write('src/projections/titles.ts', TITLES)
    const server = await start({main: checkout.main})
    await eventually(async () => (await visit(server.url).get('/readyz')).body.projections.titles?.ok === true)
    await (await signUp(server)).post('/api/posts', {title: 'after'})
    await eventually(
      async () => (await pool.query('SELECT title FROM read.titles_v1 ORDER BY title')).rows.length === 2,
    )
    expect((await visit(server.url).get('/metrics')).text).toContain('community_projection_live{projection="titles"} 1')
    expect((await checkout.community(env, 'projections', 'list')).stdout).toMatch(/^titles +1 +1 +live/m)
    const rebuilt = await checkout.community(env, 'projections', 'rebuild', 'titles')
    expect(rebuilt).toMatchObject({status: 0, stdout: 'titles: generation 2 is live, 2 rows, the same as before.\n'})
    expect((await checkout.community(env, 'projections', 'verify')).stdout).toContain(
      'titles: 2 rows, all as the log says.',
    )
  })

  it.each([
    ['is no TypeScript', 'export const x = {', /^src\/projections\/titles\.ts can't be used: .+$/],
    ['imports what is not there', "import './nothing.ts'", /^src\/projections\/titles\.ts can't be used: .*nothing.*$/],
    [
      'has a key that is no column',
      TITLES.replace("key: ['title']", "key: ['tilte']"),
      /^src\/projections\/titles\.ts can't be used: the read table titles has no column tilte$/,
    ],
    [
      'takes the name of another',
      TITLES.replace("name: 'titles'", "name: 'posts'"),
      /^src\/projections\/titles\.ts can't be used: there is a read table posts already$/,
    ],
    [
      'has a column of no type',
      TITLES.replace("count: 'int'", "count: 'number'"),
      /^the read table titles can't be made: type "number" does not exist$/,
    ],
    [
      'has an index on nothing',
      TITLES.replace("'(count)'", "'(cuont)'"),
      /^the read table titles can't be made: column "cuont" does not exist$/,
    ],
  ])('that %s stops the start with one line', async (_, text, line) => {
    const {env} = await newPlace()
    const checkout = await newCheckout()
    await checkout.write('src/projections/titles.ts', text)
    const refused = spawnProcess(dataDir, {env, main: checkout.main})
    expect(await refused.ended).toMatchObject({status: 1})
    expect(refused.stderr().trimEnd()).toMatch(line)
  })

  it('that is broken stops a command as well', async () => {
    const checkout = await newCheckout()
    await checkout.write('src/projections/titles.ts', 'throw new Error("no")')
    const {status, stderr} = await checkout.community({}, 'projections', 'list')
    expect([status, stderr]).toEqual([1, "src/projections/titles.ts can't be used: no\n"])
  })
})

describe('a changed version', () => {
  /** Shows titles in capitals. */
  const newVersion = async () => {
    const checkout = await newCheckout()
    await checkout.change('src/projections/posts.ts', 'version: 1', 'version: 2')
    await checkout.change('src/projections/posts.ts', 'title: data.title', 'title: data.title.toUpperCase()')
    return checkout
  }
  const on = (server: {url: string}, who: Person) => visit(server.url, who.cookies)

  it('is built from the new checkout while nodes of the old version serve theirs, and each goes on with its own', {
    timeout: 90_000,
  }, async () => {
    const {env, pool, start} = await newPlace()
    const old = await start()
    const [ann, bob] = [await signUp(old), await signUp(old)]
    await ann.post('/api/posts', {title: 'by Ann'})
    await bob.post('/api/posts', {title: 'by Bob'})
    expect(await community(env, 'projections', 'rebuild', 'posts')).toMatchObject({status: 0, stderr: ''})
    const checkout = await newVersion()
    const rebuilt = await checkout.community(env, 'projections', 'rebuild', 'posts')
    expect(rebuilt).toMatchObject({
      status: 0,
      stderr: '',
      stdout: 'posts: generation 1 is live; there was none before it.\n',
    })
    expect(await titles(old.url)).toEqual(['by Bob', 'by Ann'])
    await ann.post('/api/posts', {title: 'meanwhile'})

    const next = await start({main: checkout.main})
    await eventually(async () => (await titles(next.url))[0] === 'MEANWHILE')
    expect(await titles(next.url)).toEqual(['MEANWHILE', 'BY BOB', 'BY ANN'])
    await on(next, bob).post('/api/posts', {title: 'through the new one'})
    expect((await titles(next.url))[0]).toBe('THROUGH THE NEW ONE')
    await eventually(async () => (await titles(old.url))[0] === 'through the new one')
    expect((await visit(old.url).get('/readyz')).status).toBe(200)

    // To live and kept generations of both.
    expect((await on(next, ann).request('DELETE', '/api/me', {password: 'secret one'})).status).toBe(200)
    const holds = async (table: string) =>
      (await pool.query(`SELECT title FROM read.${table} WHERE author_id = $1`, [ann.id])).rows.map(({title}) => title)
    for (const table of ['posts_v1_g1', 'posts_v1_g2', 'posts_v2_g1'])
      await eventually(async () => (await holds(table)).every((title) => /^\[erased\]$/i.test(title)), {what: table})
    expect(await holds('posts_v1_g1')).toHaveLength(2)

    await old.stop()
    await on(next, bob).post('/api/posts', {title: 'alone'})
    expect((await titles(next.url))[0]).toBe('ALONE')
    expect((await visit(next.url).get('/readyz')).status).toBe(200)
  })

  it('is 503 with Retry-After on its routes and in /readyz until it is built, and nowhere else', {
    timeout: 60_000,
  }, async () => {
    const {pool, start} = await newPlace()
    const old = await start()
    const ann = await signUp(old)
    await ann.post('/api/posts', {title: 'there'})
    // As if a node that is slow to build it led.
    await pool.query(`INSERT INTO read.leases VALUES ('read.posts_v2', gen_random_uuid(), 1, 'infinity')`)
    const {main} = await newVersion()
    const next = await start({main})
    const refused = await visit(next.url).get('/api/posts')
    expect([refused.status, refused.body.code]).toEqual([503, 'UNAVAILABLE'])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    const ready = await visit(next.url).get('/readyz')
    expect(ready.status).toBe(503)
    expect(Number(ready.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(ready.body.projections).toMatchObject({posts: {ok: false, state: 'building'}, rooms: {ok: true}})
    expect((await on(next, ann).get('/api/rooms')).status).toBe(200)
    expect(await titles(old.url)).toEqual(['there'])
    await pool.query('UPDATE read.leases SET expires_at = now() WHERE view = $1', ['read.posts_v2'])
    await eventually(async () => (await visit(next.url).get('/readyz')).status === 200)
    expect(await titles(next.url)).toEqual(['THERE'])
  })
})

describe('a checkpoint of another history', () => {
  it("of another log, past the log's head or at another event is told, and nothing of its table is shown", async () => {
    const {env, pool, start} = await newPlace()
    const first = await start()
    const ann = await signUp(first)
    const roomId = await roomOf(ann)
    await ann.post('/api/posts', {title: 'of this log'})
    await ann.post(`/api/rooms/${roomId}/messages`, {content: 'of this log'})
    await first.stop()
    const wrong = [
      ['posts', 'log_identity = gen_random_uuid()'],
      ['rooms', 'position = position + 1000000'],
      ['messages', 'event_id = gen_random_uuid()'],
    ]
    for (const [table, change] of wrong)
      await pool.query(`UPDATE read.generations SET ${change} WHERE view = 'read.${table}_v1'`)
    await pool.query(`UPDATE read.posts_v1 SET title = 'of another log'`)
    await pool.query(`UPDATE read.messages_v1 SET content = 'of another log'`)
    // Another node seems to lead, so that nobody builds them yet.
    await pool.query(`UPDATE read.leases SET expires_at = 'infinity'`)
    const server = spawnProcess(dataDir, {env})
    const port = await eventually(() => /"port":(\d+),.*"the server is ready"/.exec(server.stdout())?.[1])
    const visitor = visit(`http://127.0.0.1:${port}`, ann.cookies)
    for (const path of ['/api/posts', '/api/rooms', `/api/rooms/${roomId}/messages`])
      expect([path, (await visitor.get(path)).status]).toEqual([path, 503])
    const {projections} = (await visitor.get('/readyz')).body
    const error = 'the log is another history than the read table: building it afresh'
    for (const [table] of wrong) {
      expect(server.stdout()).toMatch(new RegExp(`"table":"${table}".*${error}`))
      expect(projections[table!]).toMatchObject({ok: false, state: 'building', error})
    }
    expect(projections.users).toMatchObject({ok: true})
    await pool.query(`UPDATE read.leases SET expires_at = now()`)
    await eventually(async () => (await visitor.get('/readyz')).status === 200)
    expect(await titles(visitor.url)).toEqual(['of this log'])
    expect((await visitor.get(`/api/rooms/${roomId}/messages`)).body.messages).toMatchObject([{content: 'of this log'}])
    server.child.kill('SIGTERM')
    await server.ended
  })
})

describe('a node that was paused', () => {
  it('writes nothing when it is woken: another has led meanwhile', {timeout: 60_000}, async () => {
    const {env, pool, start} = await newPlace()
    const first = await start()
    const ann = await signUp(first)
    const roomId = await roomOf(ann)
    const second = await start()
    const leases = async () =>
      (await pool.query<{holder: string; term: string}>('SELECT DISTINCT holder, term FROM read.leases')).rows
    const before = await leases()
    const say = async (server: {url: string}, content: string) =>
      visit(server.url, ann.cookies).post(`/api/rooms/${roomId}/messages`, {content})
    await say(first, 'before')

    // In the middle of its work, so that it wakes with something to write.
    const sending = Promise.all(Array.from({length: 50}, (_, n) => say(second, `while it stops ${n}`)))
    process.kill(first.pid, 'SIGSTOP')
    await sending
    await eventually(async () => (await leases()).every(({holder}) => holder !== before[0]!.holder))
    for (let n = 0; n < 50; n++) await say(second, `while it is away ${n}`)
    await pause(3_000)
    const during = await leases()
    expect(during).toEqual([
      {holder: expect.not.stringContaining(before[0]!.holder), term: String(Number(before[0]!.term) + 1)},
    ])
    // While it wakes, more is written than before.
    const more = Promise.all(Array.from({length: 50}, (_, n) => say(second, `as it wakes ${n}`)))
    process.kill(first.pid, 'SIGCONT')
    await more
    await eventually(async () => (await say(first, 'after')).status === 200)
    expect(await leases()).toEqual(during)
    const {body} = await visit(first.url, ann.cookies).get(`/api/rooms/${roomId}/messages?limit=200`)
    expect(body.messages.map(({seq}: {seq: number}) => seq)).toEqual(Array.from({length: 152}, (_, seq) => seq))
    expect(await community(env, 'projections', 'verify')).toMatchObject({status: 0, stderr: ''})
  })
})
