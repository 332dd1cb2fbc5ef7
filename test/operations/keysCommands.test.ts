import {randomBytes} from 'node:crypto'
import {mkdtemp, readFile, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {Pool} from 'pg'
import {describe, expect, it} from 'vitest'
import {findEmbeddedPostgres} from '../../src/database/embeddedPostgres.ts'
import {openKeyStore, rewrapKeys} from '../../src/keys/keyStore.ts'
import {keepNextMasterKey, loadSecrets} from '../../src/keys/secrets.ts'
import {community} from '../support/commandLine.ts'
import {signUp, startServer, visit} from '../support/server.ts'

const secretsOf = async (dataDir: string) =>
  JSON.parse(await readFile(join(dataDir, 'secrets.json'), 'utf8')) as {masterKey: string; nextMasterKey?: string}

/** A server on the embedded database with generated secrets, as they are without any configuration. */
const startPlain = (dataDir: string) =>
  startServer({DATA_DIR: dataDir, DATABASE_URL: '', MASTER_KEY: '', SESSION_SECRET: '', EVENTSTORE_URL: ''})

describe('keys rotate', () => {
  it('goes on wherever it was cut off, while a server runs', {timeout: 120_000}, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'community-rotate-'))
    let server = await startPlain(dataDir)
    let ann = await signUp(server, {username: 'Ann'})
    await ann.post('/api/posts', {title: 'before'})
    const load = () => loadSecrets({dataDir, sessionSecret: null, masterKey: null})
    const works = async () => {
      expect((await ann.post('/api/posts', {title: 'after'})).status).toBe(200)
      await signUp(server)
      expect((await ann.get('/api/posts')).body.at(-1)).toMatchObject({title: 'before', author_name: 'Ann'})
    }
    const rotate = async () => {
      const before = (await secretsOf(dataDir)).masterKey
      expect(await community(server.env, 'keys', 'rotate')).toMatchObject({status: 0, stderr: ''})
      const after = await secretsOf(dataDir)
      expect(after).toEqual({sessionSecret: expect.anything(), masterKey: expect.not.stringMatching(before)})
    }
    // What a rotation does, up to each of its steps.
    const steps = [
      (next: Buffer) => keepNextMasterKey(dataDir, next),
      async (next: Buffer) => {
        const pool = new Pool({connectionString: (await findEmbeddedPostgres({dataDir}))!.url, max: 1})
        await rewrapKeys(pool, (await load()).masterKey, next)
        await openKeyStore({pool, masterKey: next})
        await pool.end()
      },
    ]
    for (const {cut, restarts} of [
      {cut: 1, restarts: false},
      {cut: 2, restarts: false},
      {cut: 2, restarts: true},
    ]) {
      const next = randomBytes(32)
      for (const step of steps.slice(0, cut)) await step(next)
      await works()
      if (restarts) {
        await server.stop()
        server = await startPlain(dataDir)
        ann = {...ann, ...visit(server.url, ann.cookies)}
        expect(await secretsOf(dataDir)).toEqual({sessionSecret: expect.anything(), masterKey: next.toString('base64')})
      }
      await rotate()
      await works()
    }
  })

  it('lets one of two rotations at once win, and loses no key', {timeout: 60_000}, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'community-rotate-'))
    const server = await startPlain(dataDir)
    const ann = await signUp(server)
    const both = await Promise.all([1, 2].map(() => community(server.env, 'keys', 'rotate')))
    expect(both.filter(({status}) => status === 0).length).toBeGreaterThan(0)
    for (const {stderr} of both)
      expect(stderr).toMatch(/^(Another rotation of the keys is under way\.\n|MASTER_KEY does not open.*\n|)$/)
    await server.stop()
    const again = await startPlain(dataDir)
    expect((await visit(again.url, ann.cookies).get('/api/me')).status).toBe(200)
  })

  it.each([
    [
      'wrong',
      (file: object) => ({...file, masterKey: randomBytes(32).toString('base64')}),
      /^MASTER_KEY does not open the keys in this database: .*\n$/,
    ],
    ['damaged', (file: object) => ({...file, masterKey: 'x'}), /^DATA_DIR holds a damaged .*\n$/],
  ])('a %s key stops the start with one line', {timeout: 60_000}, async (_, change, line) => {
    const dataDir = await mkdtemp(join(tmpdir(), 'community-rotate-'))
    const server = await startPlain(dataDir)
    await server.stop()
    const file = join(dataDir, 'secrets.json')
    await writeFile(file, JSON.stringify(change(JSON.parse(await readFile(file, 'utf8')))))
    expect(await community(server.env, 'serve')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(line),
    })
  })

  it('a key that is missing where it must be given stops the start with one line', async () => {
    const server = await startServer()
    const {MASTER_KEY, ...env} = server.env
    expect(await community(env, 'serve')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^MASTER_KEY must be set with DATABASE_URL: .*\n$/),
    })
  })
})
