import {mkdtemp, readFile, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {Pool} from 'pg'
import {beforeAll, describe, expect, it} from 'vitest'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {type Person, signUp, startServer, type TestServer, visit} from '../support/server.ts'

let server: TestServer
let ann: Person
let dir: string
let pool: Pool
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'community-audit-'))
  server = await startServer({EVENTSTORE_URL: ''}, {shared: true})
  ann = await signUp(server, {username: 'Ann'})
  for (let n = 0; n < 5; n++) await ann.post('/api/posts', {title: `post ${n}`})
  pool = new Pool({connectionString: server.databaseUrl})
  return async () => {
    await pool.end()
    await server.stop()
  }
})

const run = (...args: string[]) => community(server.env, 'audit', ...args)
const sealed = async (name: string, ...args: string[]): Promise<string> => {
  const {status, stdout, stderr} = await run('seal', ...args)
  expect([status, stderr]).toEqual([0, ''])
  const file = join(dir, name)
  await writeFile(file, stdout)
  return file
}
const json = async (file: string) => JSON.parse(await readFile(file, 'utf8'))

describe('audit verify', () => {
  it('says so where no seal was made yet', async () => {
    expect(await run('verify')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^No seal was made here yet.*\n$/),
    })
    expect(await run('prove', '1')).toMatchObject({status: 1, stderr: expect.stringContaining('No seal was made here')})
  })

  it('holds the log against the last seal made here, and against one that was taken away', async () => {
    const first = await sealed('first.json')
    await ann.post('/api/posts', {title: 'later'})
    expect(await run('verify')).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^All \d+ events are as they were/),
    })
    await sealed('second.json', '--extends', first)
    const {size, root} = await json(first)
    const verified = await run('verify', '--seal', first, '--json')
    expect(verified.status).toBe(0)
    expect(JSON.parse(verified.stdout)).toMatchObject({ok: true, size, root, seal: await json(first)})
  })

  it('tells a person and a program which event is another', async () => {
    const first = await sealed('before.json')
    const before = await pool.query('SELECT data FROM log.events WHERE position = 3')
    await pool.query(`UPDATE log.events SET data = '{"a":1}' WHERE position = 3`)
    const told = await run('verify', '--seal', first)
    expect(told).toMatchObject({status: 1, stderr: ''})
    expect(told.stdout).toMatch(
      /^Log and seal differ\. At position 3, event [0-9a-f-]{36} \(\w+, revision \d+ of .*\) is not what was sealed\.\n$/,
    )
    expect(JSON.parse((await run('verify', '--json')).stdout)).toMatchObject({
      ok: false,
      difference: {kind: 'changed', index: 2, position: '3', event: {revision: expect.any(Number)}},
    })
    await pool.query('BEGIN; DELETE FROM proof.tiles; COMMIT')
    expect((await run('verify')).stdout).toBe(
      'Log and seal differ. The hashes kept here do not give the root of the seal, so nothing tells where.\n',
    )
    const refused = await run('seal')
    expect(refused).toMatchObject({status: 1, stdout: '', stderr: expect.stringContaining('Nothing was sealed.')})
    await pool.query('UPDATE log.events SET data = $1 WHERE position = 3', [before.rows[0].data])
    await sealed('again.json')
    expect((await run('verify')).status).toBe(0)
  })

  it('finds a changed beginning, though it bears the log’s identity', async () => {
    const seal = await sealed('beginning.json')
    const {rows} = await pool.query('SELECT data FROM log.events WHERE position = 1')
    for (const data of ['{}', JSON.stringify({...rows[0].data, identity: '7f9c24e8-3b12-4fef-91e4-7bd0a1c3e9a5'})]) {
      await pool.query('UPDATE log.events SET data = $1 WHERE position = 1', [data])
      expect((await run('verify', '--seal', seal)).stdout).toMatch(/^Log and seal differ\. At position 1, event/)
    }
    await pool.query('UPDATE log.events SET data = $1 WHERE position = 1', [rows[0].data])
    expect((await run('verify')).status).toBe(0)
  })

  it('takes no seal by another key than the one of this database, or the one that --key names', async () => {
    const ours = await sealed('ours.json')
    const {publicKey} = await json(ours)
    const pem = await run('seal', '--public-key')
    expect(pem.stdout).toBe(`-----BEGIN PUBLIC KEY-----\n${publicKey}\n-----END PUBLIC KEY-----\n`)
    await pool.query(`ALTER TABLE keys.secrets RENAME TO aside; CREATE TABLE keys.secrets (LIKE keys.aside INCLUDING ALL);
      INSERT INTO keys.secrets SELECT * FROM keys.aside WHERE name <> 'signing'`)
    expect(await run('verify', '--seal', ours)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('say with --key'),
    })
    const theirs = await sealed('theirs.json')
    expect((await json(theirs)).publicKey).not.toBe(publicKey)
    expect((await run('verify', '--seal', theirs)).status).toBe(0)
    const other = await run('verify', '--seal', ours)
    expect(other).toMatchObject({status: 1, stderr: expect.stringContaining('is signed by another key than')})
    expect((await run('verify', '--seal', ours, '--key', publicKey)).status).toBe(0)
    await pool.query('DROP TABLE keys.secrets; ALTER TABLE keys.aside RENAME TO secrets')
  })

  it('takes no file that is cut off, changed, or not there', async () => {
    const good = await sealed('good.json')
    const text = await readFile(good, 'utf8')
    const bad = join(dir, 'bad.json')
    await writeFile(bad, text.slice(0, -9))
    expect(await run('verify', '--seal', bad)).toMatchObject({
      status: 1,
      stdout: '',
      stderr: `${bad} is no seal: it is not JSON, or was cut off.\n`,
    })
    expect(await run('verify', '--seal', join(dir, 'none'))).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('can not be read: ENOENT'),
    })
  })

  it('says that a seal is another log’s, or of more than the log holds', async () => {
    const seal = await sealed('here.json')
    const {publicKey, identity} = await json(seal)
    const elsewhere = await startServer({...server.env, DATABASE_URL: await createDatabase()})
    const there = await community(elsewhere.env, 'audit', 'verify', '--seal', seal, '--key', publicKey)
    expect(there.stdout).toMatch(new RegExp(`^The seal is of log ${identity}; this one is [0-9a-f-]{36}\\.\n$`))
    const {rows} = await pool.query('DELETE FROM log.events WHERE position > 8 RETURNING *')
    expect((await run('verify', '--seal', seal)).stdout).toContain('At position 9 and after it events are missing.')
    await pool.query('INSERT INTO log.events SELECT * FROM json_populate_recordset(NULL::log.events, $1)', [
      JSON.stringify(rows),
    ])
  })

  it('verifies a seal after an erasure, and one made after it', async () => {
    const seal = await sealed('erased.json')
    expect((await visit(server.url, ann.cookies).request('DELETE', '/api/me', {})).status).toBe(200)
    expect((await run('verify', '--seal', seal)).status).toBe(0)
    expect((await run('verify', '--seal', await sealed('after.json', '--extends', seal))).status).toBe(0)
  })
})
