import {spawn} from 'node:child_process'
import {randomBytes} from 'node:crypto'
import {mkdtemp} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {Pool} from 'pg'
import {describe, expect, it} from 'vitest'
import {openPostgresLog} from '../../src/log/postgresLog.ts'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {appendHistory} from '../support/history.ts'
import {signUp, startServer, visit} from '../support/server.ts'

const events = async (url: string): Promise<number> => {
  const pool = new Pool({connectionString: url, max: 1})
  const {rows} = await pool.query('SELECT count(*)::int AS events FROM log.events').catch(() => ({rows: [{events: 0}]}))
  await pool.end()
  return rows[0].events
}

/** A copy that is killed after so many milliseconds. */
const killed = async (env: NodeJS.ProcessEnv, to: string, ms: number): Promise<void> => {
  const child = spawn(process.execPath, ['bin/community.js', 'log', 'copy', '--to', to], {
    env: {PATH: process.env.PATH, ...env},
    stdio: 'ignore',
  })
  const ended = new Promise((resolve) => child.on('close', resolve))
  await Promise.race([pause(ms), ended])
  child.kill('SIGKILL')
  await ended
}

const readCopied = async (env: NodeJS.ProcessEnv, to: string) => {
  const {status, stdout, stderr} = await community(env, 'log', 'copy', '--to', to, '--json')
  expect([status, stderr]).toEqual([0, ''])
  return JSON.parse(stdout)
}

const sealIn = async (env: NodeJS.ProcessEnv) => JSON.parse((await community(env, 'audit', 'seal')).stdout)

describe('log copy', () => {
  it('moves a community to a Postgres of its own: backup, restore, copies beside the server, and the last one', {
    timeout: 120_000,
  }, async () => {
    const old = await startServer({EVENTSTORE_URL: ''})
    const ann = await signUp(old, {username: 'Ann'})
    await ann.post('/api/posts', {title: 'before'})
    const {publicKey, identity} = await sealIn(old.env)
    const dir = await mkdtemp(join(tmpdir(), 'community-move-'))
    const to = await createDatabase()
    const env = {...old.env, DATABASE_URL: to}
    await community(old.env, 'backup', join(dir, 'backup'), '--keys', join(dir, 'keys'))
    expect((await community(env, 'restore', join(dir, 'backup'), '--keys', join(dir, 'keys'))).status).toBe(0)
    for (const title of ['meanwhile', 'later']) {
      await ann.post('/api/posts', {title})
      const told = await community(old.env, 'log', 'copy', '--to', to)
      expect(told.stdout).toMatch(
        /events are in the other log, 1 of them new\. The root of both is [0-9a-f]{64}\nA server is running/,
      )
    }
    await ann.post('/api/posts', {title: 'last'})
    await old.stop()
    expect(await readCopied(old.env, to)).toMatchObject({appended: 1, keys: true, last: true})
    expect(await readCopied(old.env, to)).toMatchObject({appended: 0, last: true})
    const moved = await startServer(env)
    const reader = visit(moved.url, ann.cookies)
    const posts = await eventually(async () => {
      const {body} = await reader.get('/api/posts')
      return body?.length === 4 ? (body as {title: string; author_name: string}[]) : null
    })
    expect(posts.map(({title, author_name}) => [title, author_name])).toEqual(
      ['last', 'later', 'meanwhile', 'before'].map((title) => [title, 'Ann']),
    )
    expect((await reader.post('/api/posts', {title: 'there'})).status).toBe(200)
    expect(await sealIn(env)).toMatchObject({publicKey, identity})
    // The other log went on: it is not what this one is any more.
    expect(await community(old.env, 'log', 'copy', '--to', to)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /^The other log is not a copy of this one: the other log holds \d+ events, and not \d+\.\n$/,
      ),
    })
  })

  it('goes on after a kill at any moment, and is no log for a server until then', {timeout: 120_000}, async () => {
    const server = await startServer({EVENTSTORE_URL: ''})
    await server.stop()
    const log = await openPostgresLog({url: server.databaseUrl})
    await appendHistory(log, 6_000)
    await log.close()
    const to = await createDatabase()
    let kills = 0
    let refusals = 0
    for (let ms = 400; (await events(to)) < 6_001; ms *= 1.25) {
      await killed(server.env, to, ms)
      kills++
      const held = await events(to)
      if (held === 0 || held === 6_001 || refusals++ > 0) continue
      expect(await community({...server.env, DATABASE_URL: to}, 'serve')).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('did not come to its end'),
      })
    }
    expect(kills).toBeGreaterThan(1)
    const copied = await readCopied(server.env, to)
    expect(copied).toMatchObject({events: 6_001, keys: false, root: (await sealIn(server.env)).root})
    expect((await sealIn({...server.env, DATABASE_URL: to})).root).toBe(copied.root)
  })

  it('leaves another community’s log alone, and knows logs by their addresses', {timeout: 60_000}, async () => {
    const one = await startServer({EVENTSTORE_URL: ''})
    const other = await startServer({EVENTSTORE_URL: ''})
    const refused = await community(one.env, 'log', 'copy', '--to', other.databaseUrl)
    expect(refused).toMatchObject({status: 1, stdout: '', stderr: expect.stringContaining('is not a copy of this one')})
    expect((await community(other.env, 'audit', 'seal')).status).toBe(0)
    const alias = `${one.databaseUrl}${one.databaseUrl.includes('?') ? '&' : '?'}application_name=other`
    expect(await community(one.env, 'log', 'copy', '--to', alias)).toEqual({
      status: 1,
      stdout: '',
      stderr: '--to names the log itself: a copy wants another one.\n',
    })
    for (const args of [['--to', 'mysql://localhost'], []])
      expect((await community(one.env, 'log', 'copy', ...args)).status).toBe(2)
    expect((await community(one.env, 'log', 'copy', '--to', 'postgres://127.0.0.1:1/none')).status).toBe(1)
  })

  const eventStore = process.env.EVENTSTORE_URL
  it.skipIf(!eventStore)(
    'moves to EventStoreDB and back, killed on the way, and servers read on',
    {
      timeout: 240_000,
    },
    async () => {
      const prefix = `t${randomBytes(6).toString('hex')}.`
      const server = await startServer({EVENTSTORE_URL: '', EVENTSTORE_PREFIX: prefix})
      const ann = await signUp(server, {username: 'Ann'})
      for (let n = 0; n < 5; n++) await ann.post('/api/posts', {title: `post ${n}`})
      const log = await openPostgresLog({url: server.databaseUrl})
      await appendHistory(log, 2_000)
      await log.close()
      for (const ms of [700, 1_000, 1_500]) await killed(server.env, eventStore!, ms)
      expect(await readCopied(server.env, eventStore!)).toMatchObject({last: false})
      await ann.post('/api/posts', {title: 'post 5'})
      await server.stop()
      const sealed = await sealIn(server.env)
      expect(await readCopied(server.env, eventStore!)).toMatchObject({appended: 1, last: true, root: sealed.root})

      const env = {...server.env, EVENTSTORE_URL: eventStore!}
      expect((await community(env, 'audit', 'verify')).stdout).toMatch(/^All \d+ events are as they were sealed/)
      const moved = await startServer(env)
      const titles = async (url: string) =>
        (await visit(url, ann.cookies).get('/api/posts')).body?.map?.(({title}: {title: string}) => title)
      await eventually(async () => (await titles(moved.url))?.[0] === 'post 5', {ms: 20_000})
      await eventually(async () => (await visit(moved.url).get('/readyz')).status === 200, {ms: 20_000})
      expect((await visit(moved.url, ann.cookies).post('/api/posts', {title: 'post 6'})).status).toBe(200)
      await moved.stop()

      const back = {...server.env, DATABASE_URL: await createDatabase()}
      const sealedThere = await sealIn(env)
      expect(sealedThere.size).toBe(sealed.size + 1)
      expect(await readCopied(env, back.DATABASE_URL)).toMatchObject({root: sealedThere.root, events: sealedThere.size})
      expect((await sealIn(back)).root).toBe(sealedThere.root)
    },
  )
})
