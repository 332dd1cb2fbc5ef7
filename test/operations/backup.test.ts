import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {mkdtemp, readdir, readFile, rm, symlink, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {Client} from 'pg'
import {describe, expect, it} from 'vitest'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {signUp, startServer, type TestServer, visit} from '../support/server.ts'
import {plain} from '../uploads/images.ts'

const folder = () => mkdtemp(join(tmpdir(), 'community-backup-'))

/** Every row of what can be read without a key. */
const rowsIn = async (databaseUrl: string): Promise<{name: string; row: string}[]> => {
  const client = new Client({connectionString: databaseUrl})
  await client.connect()
  try {
    const {rows: tables} = await client.query(
      `SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname IN ('read', 'state', 'log')`,
    )
    const all = []
    for (const {name} of tables) {
      const {rows} = await client.query(`SELECT t::text AS row FROM ${name} t`)
      all.push(...rows.map(({row}) => ({name, row})))
    }
    return all
  } finally {
    await client.end()
  }
}

/** Kills it where it is about to write the first row of the table. */
const restoreKilledAt = async (table: string, env: NodeJS.ProcessEnv, ...args: string[]): Promise<void> => {
  const client = new Client({connectionString: env.DATABASE_URL})
  await client.connect()
  try {
    await client.query(`BEGIN; LOCK TABLE ${table} IN SHARE MODE`)
    const child = spawn(process.execPath, ['bin/community.js', 'restore', ...args], {
      env: {PATH: process.env.PATH, ...env},
      stdio: 'ignore',
    })
    const ended = once(child, 'exit')
    await eventually(
      async () => {
        expect(child.exitCode).toBeNull()
        const waiting = 'SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass'
        return (await client.query(waiting, [table])).rowCount === 1
      },
      {ms: 30_000},
    )
    child.kill('SIGKILL')
    expect(await ended).toEqual([null, 'SIGKILL'])
  } finally {
    await client.end()
  }
}

const fillServer = async (server: TestServer) => {
  const ann = await signUp(server, {username: 'Ann'})
  const bob = await signUp(server, {username: 'Bob'})
  const {room} = (await ann.post('/api/rooms', {name: 'Lobby\u2028and hall', visibility: 'open'})).body
  await bob.post(`/api/rooms/${room.id}/join`)
  for (let n = 0; n < 20; n++) {
    await ann.post('/api/posts', {title: `post ${n}`})
    await bob.post(`/api/rooms/${room.id}/messages`, {content: `message ${n}`, nonce: `${n}`})
  }
  return {ann, bob, room}
}

describe('backup', () => {
  it('comes back whole: history, seals, sessions and keys, each where it was', {timeout: 60_000}, async () => {
    const server = await startServer()
    const {ann, bob, room} = await fillServer(server)
    const sealed = JSON.parse((await community(server.env, 'audit', 'seal')).stdout)
    const dir = await folder()
    const keys = join(await folder(), 'keys.json')
    const made = await community(server.env, 'backup', dir, '--keys', keys, '--json')
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout).events).toBeGreaterThan(40)
    const before = {posts: (await ann.get('/api/posts')).body, room: (await bob.get(`/api/rooms/${room.id}`)).body}
    await server.stop()

    const env = {...server.env, DATABASE_URL: await createDatabase()}
    const restored = await community(env, 'restore', dir, '--keys', keys)
    expect(restored.status, restored.stderr).toBe(0)
    const again = await startServer(env)
    await eventually(async () => (await visit(again.url).get('/readyz')).status === 200, {ms: 30_000})
    const back = {
      posts: (await visit(again.url, ann.cookies).get('/api/posts')).body,
      room: (await visit(again.url, bob.cookies).get(`/api/rooms/${room.id}`)).body,
    }
    expect(back).toEqual(before)
    const repeat = await visit(again.url, bob.cookies).post(`/api/rooms/${room.id}/messages`, {
      content: 'other',
      nonce: '3',
    })
    expect(repeat.body.message.content).toBe('message 3')
    const verified = await community(env, 'audit', 'verify', '--json')
    expect(JSON.parse(verified.stdout)).toMatchObject({ok: true, seal: sealed})
    expect(JSON.parse((await community(env, 'audit', 'seal')).stdout)).toMatchObject({publicKey: sealed.publicKey})
    const twice = await community(env, 'restore', dir)
    expect([twice.status, twice.stderr]).toEqual([1, 'The log holds events: restore wants an empty database.\n'])
  })

  it('yields nothing of who was erased since, with the keys of today', {timeout: 120_000}, async () => {
    const before = await startServer({UPLOAD_DIR: await folder()})
    const {ann, bob} = await fillServer(before)
    const form = new FormData()
    form.append('file', new Blob([new Uint8Array(await plain(8, 8, 'png'))]))
    const cookie = [...ann.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const uploaded = await fetch(`${before.url}/api/upload`, {method: 'POST', body: form, headers: {cookie}})
    const picture = new URL(((await uploaded.json()) as {url: string}).url).pathname
    await before.stop()
    // A mail server that is down, so that a mail to the person waits.
    const server = await startServer({
      ...before.env,
      MAILS_PER_IP: '9',
      SMTP_URL: 'smtp://127.0.0.1:9',
      MAIL_FROM: 'a@b.example',
    })
    expect((await visit(server.url).post('/api/email/forgot', {email: ann.email})).status).toBe(200)
    const dir = await folder()
    const taken = JSON.parse((await community(server.env, 'backup', dir, '--json')).stdout)
    expect(taken).toMatchObject({uploads: 1, state: {mails: 1, limits: 1}})
    expect((await visit(server.url, ann.cookies).request('DELETE', '/api/me', {})).status).toBe(200)
    const later = await folder()
    const keys = join(await folder(), 'keys.json')
    expect((await community(server.env, 'backup', later, '--keys', keys)).status).toBe(0)
    await server.stop()

    const dataDir = await folder()
    const env = {
      ...before.env,
      DATABASE_URL: await createDatabase(),
      DATA_DIR: dataDir,
      UPLOAD_DIR: join(dataDir, 'uploads'),
    }
    expect((await community(env, 'restore', dir, '--keys', keys)).status).toBe(0)
    const files = async () =>
      (await readdir(dataDir, {recursive: true, withFileTypes: true})).filter((one) => one.isFile())
    expect(await files()).toHaveLength(1)
    const again = await startServer(env)
    const visitor = visit(again.url, bob.cookies)
    const posts = await eventually(
      async () => {
        const {body} = await visitor.get('/api/posts')
        return Array.isArray(body) && body.length === 20 ? body : null
      },
      {ms: 30_000},
    )
    expect(posts[0]).toMatchObject({title: '[erased]', author_name: '[erased]'})
    await eventually(async () => (await visit(again.url).get(picture)).status === 404)
    const rows = await eventually(async () => {
      const all = await rowsIn(env.DATABASE_URL)
      return all.some(({name}) => name === 'state.mails') ? null : all
    })
    const text = rows.map(({row}) => row).join('\n')
    expect(text).toContain('message 3')
    for (const word of [ann.email, 'Ann', 'post 3', '127.0.0.1']) expect(text).not.toContain(word)
    expect(await files()).toEqual([])
  })

  it('is nothing until it is whole: killed anywhere, it goes on when it is run again, and no server starts before', {
    timeout: 120_000,
  }, async () => {
    const server = await startServer({UPLOAD_DIR: await folder(), MAILS_PER_IP: '9'})
    const ann = await signUp(server, {username: 'Ann'})
    await ann.post('/api/posts', {title: 'here'})
    for (let n = 0; n < 3; n++) await writeFile(join(server.env.UPLOAD_DIR!, `${n}`), `upload ${n}`)
    const [dir, other, keys] = [await folder(), await folder(), join(await folder(), 'keys.json')]
    expect((await community(server.env, 'backup', other)).status).toBe(0)
    expect((await community(server.env, 'backup', dir, '--keys', keys)).status).toBe(0)
    await server.stop()

    const env = {...server.env, DATABASE_URL: await createDatabase(), UPLOAD_DIR: await folder()}
    // Makes the tables.
    await community(env, 'audit', 'verify')
    for (const table of ['log.events', 'state.limits']) {
      await restoreKilledAt(table, env, dir, '--keys', keys)
      for (const args of [['serve'], ['users', 'erase', ann.id], ['audit', 'seal']])
        expect(await community({...env, PORT: '0'}, ...args)).toEqual({
          status: 1,
          stdout: '',
          stderr:
            'A restore into this database did not come to its end: run it again with the same backup, it goes on from there\n',
        })
      expect(await community(env, 'restore', other)).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('A restore of another backup did not come to its end'),
      })
    }
    await rm(join(env.UPLOAD_DIR, '2'))
    const restored = await community(env, 'restore', dir, '--keys', keys)
    expect(restored).toMatchObject({status: 0, stderr: ''})
    expect((await readdir(env.UPLOAD_DIR)).sort()).toEqual(['0', '1', '2'])
    const again = visit((await startServer(env)).url, ann.cookies)
    await eventually(async () => (await again.get('/api/me')).body?.user?.username === 'Ann', {ms: 30_000})
    await eventually(async () => (await again.get('/api/posts')).body?.[0]?.title === 'here')
  })

  it('refuses a folder that holds something, keys inside it, a damaged backup, and a start without its keys', {
    timeout: 60_000,
  }, async () => {
    const server = await startServer()
    const dir = await folder()
    await writeFile(join(dir, 'something'), '')
    expect(await community(server.env, 'backup', dir)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('is not empty'),
    })
    const good = await folder()
    const link = join(await folder(), 'link')
    await symlink(good, link)
    for (const inside of [join(good, 'k'), join(good, 'deeper', 'k'), join(link, 'k')])
      expect(await community(server.env, 'backup', good, '--keys', inside)).toEqual({
        status: 2,
        stdout: '',
        stderr: `${inside} is inside the backup: the keys go elsewhere, or an erasure would not be one.\n`,
      })
    await community(server.env, 'backup', good)
    const env = {...server.env, DATABASE_URL: await createDatabase()}
    expect((await community(env, 'restore', good)).status).toBe(0)
    const started = await community({...env, PORT: '0'}, 'serve')
    expect(started).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^The log was begun with keys that are not in this database.*\n$/),
    })
    const log = join(good, 'log.ndjson.gz')
    await writeFile(log, Buffer.concat([await readFile(log), Buffer.from('x')]))
    const other = {...server.env, DATABASE_URL: await createDatabase()}
    expect(await community(other, 'restore', good)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('damaged'),
    })
  })
})

describe('keys rotate', () => {
  it('wraps the keys anew while the server runs, and the old MASTER_KEY opens nothing any more', {
    timeout: 60_000,
  }, async () => {
    const server = await startServer()
    const {ann} = await fillServer(server)
    const rotated = await community(server.env, 'keys', 'rotate', '--json')
    const {masterKey} = JSON.parse(rotated.stdout)
    expect((await ann.post('/api/posts', {title: 'still here'})).status).toBe(200)
    await signUp(server)
    await server.stop()
    const old = await community({...server.env, PORT: '0'}, 'serve')
    expect(old).toMatchObject({status: 1, stderr: expect.stringMatching(/^MASTER_KEY does not open the keys.*\n$/)})
    const again = await startServer({...server.env, MASTER_KEY: masterKey})
    expect((await visit(again.url, ann.cookies).get('/api/posts')).body[0]).toMatchObject({
      title: 'still here',
      author_name: 'Ann',
    })
  })
})
