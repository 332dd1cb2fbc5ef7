import {mkdtemp, readdir, readFile, stat} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {Client, Pool} from 'pg'
import {describe, expect, it, onTestFinished, vi} from 'vitest'
import {readConfig} from '../../src/config.ts'
import {findEmbeddedPostgres} from '../../src/database/embeddedPostgres.ts'
import {openLog} from '../../src/foundation.ts'
import {beginBeside, readGenerations, targetOf} from '../../src/projections/generations.ts'
import {posts} from '../../src/projections/posts.ts'
import {users} from '../../src/projections/users.ts'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {connect, type Person, signUp, startServer, type TestServer, visit} from '../support/server.ts'
import {plain} from '../uploads/images.ts'

/** Files under the folder whose bytes hold one of the words. */
const filesWith = async (folder: string, words: string[]): Promise<string[]> => {
  const found: string[] = []
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const info = await stat(path).catch(() => null)
    if (info?.isDirectory()) found.push(...(await filesWith(path, words)))
    else if (info?.isFile()) {
      const bytes = await readFile(path).catch(() => Buffer.alloc(0))
      for (const word of words) if (bytes.includes(word)) found.push(`${path}: ${word}`)
    }
  }
  return found
}

const upload = async (who: Person): Promise<string> => {
  const body = new FormData()
  body.append('file', new Blob([new Uint8Array(await plain(8, 8, 'png'))]), 'a.png')
  const cookie = [...who.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const response = await fetch(new URL('/api/upload', who.url), {method: 'POST', body, headers: {cookie}})
  return ((await response.json()) as {url: string}).url
}

/** The log as it is stored, in one text. */
const storedLog = async ({env}: TestServer, databaseUrl: string): Promise<string> => {
  const log = await openLog(readConfig(env), databaseUrl, () => {})
  try {
    let text = ''
    for await (const page of log.readAll())
      for (const {data, metadata} of page) text += JSON.stringify({data, metadata})
    return text
  } finally {
    await log.close()
  }
}

/** What events no longer reach: what a killed rebuild left, and a table of another version. Both hold all posts. */
const leaveUnfed = async (pool: Pool): Promise<void> => {
  const live = (await readGenerations(pool, [posts]))[0]!
  const beside = await beginBeside(pool, posts, live)
  await pool.query(`INSERT INTO ${targetOf(beside)} SELECT * FROM ${posts.view}`)
  await pool.query(`CREATE TABLE read.posts_v0_g1 AS SELECT * FROM ${posts.view}`)
  await pool.query('CREATE VIEW read.posts_v0 AS SELECT * FROM read.posts_v0_g1')
  await pool.query(
    `INSERT INTO read.generations (view, generation, state, log_identity, adapter) VALUES ('read.posts_v0', 1, 'live', $1, $2)`,
    [live.logIdentity, live.adapter],
  )
}

describe('users erase', () => {
  it('leaves nothing in clear of what a person wrote, in no file of the data directory', {
    timeout: 120_000,
  }, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'community-erase-'))
    const server = await startServer({DATA_DIR: dataDir, DATABASE_URL: ''})
    const {url} = (await findEmbeddedPostgres({dataDir}))!
    const ann = await signUp(server, {username: 'Annabella Xyzzy', email: 'annabella.xyzzy@example.com'})
    const bob = await signUp(server)
    const {room} = (await ann.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body
    const {room: bobs} = (await bob.post('/api/rooms', {name: 'Invited', visibility: 'invite'})).body
    await bob.post(`/api/rooms/${room.id}/join`)
    await bob.post(`/api/rooms/${bobs.id}/invite`, {userId: ann.email})
    for (let n = 0; n < 30; n++) {
      await ann.post('/api/posts', {
        title: `plughtitle ${n}`,
        body: `plughbody ${n} `.repeat(50),
        attachments: ['https://plugh.example/a'],
      })
      await ann.post(`/api/rooms/${room.id}/messages`, {content: `plughmessage ${n}`})
    }
    const picture = await upload(ann)
    expect((await fetch(picture.replace(/^.*(?=\/uploads)/, server.url))).status).toBe(200)
    await visit(server.url).post('/api/email/forgot', {email: ann.email})
    await eventually(async () => (await server.links(ann.email)).length === 2)
    const pool = new Pool({connectionString: url, max: 1})
    await leaveUnfed(pool)
    const socket = await connect(ann)
    const closed = new Promise((resolve) => socket.on('disconnect', resolve))
    const words = ['Annabella', 'annabella', 'plugh']
    expect(await filesWith(dataDir, words)).not.toEqual([])
    const stored = await storedLog(server, url)
    for (const word of words) expect(stored).not.toContain(word)

    expect(await community(server.env, 'users', 'erase', ann.id)).toMatchObject({status: 0, stderr: ''})
    await pool.end()
    await closed
    expect(await filesWith(dataDir, words)).toEqual([])
    expect(server.logged.filter((line) => /nnabella|plugh/.test(line.replace(/"link":"[^"]*"/, '')))).toEqual([])
    expect((await fetch(picture.replace(/^.*(?=\/uploads)/, server.url))).status).toBe(404)
    expect((await ann.get('/api/me')).status).toBe(401)
    const [post] = (await bob.get('/api/posts')).body
    expect(post).toMatchObject({title: '[erased]', body: '[erased]', author_name: '[erased]', attachments: []})
    const read = (await bob.get(`/api/rooms/${room.id}`)).body
    expect(read.members).toHaveLength(1)
    expect(read.messages[0]).toMatchObject({content: '[erased]', username: '[erased]'})
    const verified = await community(server.env, 'projections', 'verify', '--json')
    expect(JSON.parse(verified.stdout)).toSatisfy((results: {differing: number}[]) =>
      results.every(({differing}) => differing === 0),
    )

    const again = await signUp(server, {email: 'annabella.xyzzy@example.com'})
    expect(again.id).not.toBe(ann.id)
    expect((await again.get('/api/rooms')).body).toMatchObject({rooms: [], invitations: []})
    expect((await again.get('/api/me/export')).text).not.toMatch(new RegExp(`${ann.id}|${bobs.id}|${room.id}`))
  })

  it('says what a database user without the rights leaves to a superuser, until one has done it', {
    timeout: 60_000,
  }, async () => {
    const databaseUrl = await createDatabase()
    const {pathname} = new URL(databaseUrl.replace('@/', '@localhost/'))
    const name = pathname.slice(1)
    const admin = new Client({connectionString: databaseUrl})
    await admin.connect()
    await admin.query(`CREATE ROLE ${name} LOGIN PASSWORD 'plain'`)
    await admin.query(`GRANT ALL ON DATABASE ${name} TO ${name}`)
    onTestFinished(() => admin.end())
    const server = await startServer({DATABASE_URL: databaseUrl.replace(/\/\/[^@]+@/, `//${name}:plain@`)})
    const ann = await signUp(server)
    const {status, stdout} = await community(server.env, 'users', 'erase', ann.id)
    expect(status).toBe(0)
    expect(stdout.split('\n')).toEqual([
      `${ann.id} is erased. This database user may not clear the files: have a superuser run`,
      '  VACUUM FULL pg_catalog.pg_statistic',
      '  VACUUM FULL pg_catalog.pg_statistic_ext_data',
      '  SELECT pg_switch_wal()',
      '  CHECKPOINT',
      '',
    ])
    const leftBy = async () => JSON.parse((await community(server.env, 'users', 'erase', ann.id, '--json')).stdout).left
    const left = await leftBy()
    // Whoever else uses the database server may move its WAL on.
    expect(left).toEqual(
      expect.arrayContaining(['VACUUM FULL pg_catalog.pg_statistic', 'VACUUM FULL pg_catalog.pg_statistic_ext_data']),
    )
    for (const statement of left.slice(1)) await admin.query(statement)
    expect(await leftBy()).toEqual(left.slice(0, 1))
    await admin.query(left[0])
    expect(await community(server.env, 'users', 'erase', ann.id)).toMatchObject({
      status: 0,
      stdout: `${ann.id} is erased, and the files of the database are cleared.\n`,
    })
  })

  it('knows nobody by another id, and refuses what is no id', {timeout: 60_000}, async () => {
    const server = await startServer()
    const nobody = `email_${'a'.repeat(26)}`
    expect(await community(server.env, 'users', 'erase', nobody)).toMatchObject({
      status: 1,
      stdout: `Nobody has the id ${nobody}.\n`,
    })
    expect(await community(server.env, 'users', 'erase', 'ann@example.com')).toMatchObject({status: 2})
  })
})

describe('keepErasing', () => {
  const query = async (server: TestServer, text: string, values: unknown[] = []) => {
    const client = new Client({connectionString: server.databaseUrl})
    await client.connect()
    try {
      return (await client.query(text, values)).rows
    } finally {
      await client.end()
    }
  }

  it('clears the files for all who were erased in the last hours', async () => {
    const first = await startServer()
    const [ann, bob] = [await signUp(first), await signUp(first)]
    for (const one of [ann, bob]) expect((await one.request('DELETE', '/api/me', {})).status).toBe(200)
    await first.stop()
    const due = () => query(first, 'SELECT person FROM keys.people WHERE erased_at IS NOT NULL AND scrubbed_at IS NULL')
    expect(await due()).toHaveLength(2)
    const second = await startServer(first.env)
    await second.stop()
    expect(await due()).toHaveLength(2)
    await query(first, `UPDATE keys.people SET erased_at = now() - interval '13 hours' WHERE person = $1`, [ann.id])
    await startServer(first.env)
    await eventually(async () => (await due()).length === 0)
  })

  it('finishes what a crash cut off, and destroys again the key that a backup brought back', async () => {
    const first = await startServer()
    const [ann, bob, eve] = [await signUp(first), await signUp(first), await signUp(first)]
    const {room} = (await ann.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body
    await bob.post(`/api/rooms/${room.id}/join`)
    await eve.post('/api/posts', {title: 'of Eve'})
    const [{wrapped}] = await query(first, 'SELECT wrapped FROM keys.people WHERE person = $1', [eve.id])
    expect((await eve.request('DELETE', '/api/me', {})).status).toBe(200)
    await first.stop()
    // As if killed right after the first step; and as if keys were restored from before the erasure.
    await query(first, 'UPDATE keys.people SET wrapped = NULL WHERE person = $1', [bob.id])
    await query(first, 'UPDATE keys.people SET wrapped = $2, erased_at = NULL WHERE person = $1', [eve.id, wrapped])
    const second = await startServer(first.env)
    const again = visit(second.url, ann.cookies)
    await eventually(
      async () => (await query(first, 'SELECT FROM keys.people WHERE erased_at IS NOT NULL')).length === 2,
    )
    expect((await again.get(`/api/rooms/${room.id}`)).body.members).toMatchObject([{userId: ann.id}])
    expect((await visit(second.url, bob.cookies).get('/api/me')).status).toBe(401)
    expect((await again.get('/api/posts')).body).toMatchObject([{title: '[erased]'}])
    const next = await signUp(second, {email: bob.email})
    expect(next.id).not.toBe(bob.id)
  })

  it('erases attempts that died or expired, and nobody else', async () => {
    const server = await startServer()
    const register = (email: string) => visit(server.url).post('/api/email/register', {email, password: 'secret one'})
    const idOf = async (email: string): Promise<string> => {
      const rows = await query(server, `SELECT user_id FROM ${users.view} WHERE email = $1 AND NOT verified`, [email])
      expect(rows).toHaveLength(1)
      return rows[0].user_id
    }
    await register('ann@example.org')
    const ann = await signUp(server, {email: 'ann@example.org'})
    await register('open@example.org')
    try {
      vi.useFakeTimers({toFake: ['Date'], now: Date.now() - 26 * 3_600_000})
      await register('expired@example.org')
    } finally {
      vi.useRealTimers()
    }
    const [died, open, expired] = [
      await idOf('ann@example.org'),
      await idOf('open@example.org'),
      await idOf('expired@example.org'),
    ]
    await server.stop()
    const again = await startServer(server.env)
    const erased = () => query(server, 'SELECT person FROM keys.people WHERE erased_at IS NOT NULL ORDER BY 1')
    await eventually(async () => (await erased()).length === 2)
    expect(await erased()).toEqual([died, expired].sort().map((person) => ({person})))
    expect((await visit(again.url, ann.cookies).get('/api/me')).status).toBe(200)
    expect(await query(server, `SELECT user_id FROM ${users.view} ORDER BY 1`)).toEqual(
      [ann.id, open].sort().map((user_id) => ({user_id})),
    )
    expect(await again.links('expired@example.org')).toEqual([])
  })
})
