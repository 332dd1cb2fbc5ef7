import {spawn} from 'node:child_process'
import {createReadStream} from 'node:fs'
import {mkdtemp, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {Pool} from 'pg'
import {beforeAll, describe, expect, it} from 'vitest'
import {cloudEventOf, lineOf} from '../../src/proof/cloudEvent.ts'
import {community} from '../support/commandLine.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {historyOf} from '../support/history.ts'
import {type Person, signUp, startServer, type TestServer, visit} from '../support/server.ts'

let from: TestServer
let ann: Person
let dir: string
let file: string
let keys: string
let lines: string[]
let root: string

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'community-import-'))
  from = await startServer({EVENTSTORE_URL: ''}, {shared: true})
  ann = await signUp(from, {username: 'Ann'})
  for (let n = 0; n < 5; n++) await ann.post('/api/posts', {title: `post ${n}`})
  keys = join(dir, 'keys')
  await community(from.env, 'backup', join(dir, 'backup'), '--keys', keys)
  await from.stop()
  file = join(dir, 'log.ndjson')
  const {stdout} = await community(from.env, 'audit', 'export')
  await writeFile(file, stdout)
  lines = stdout.trimEnd().split('\n')
  root = JSON.parse((await community(from.env, 'audit', 'seal')).stdout).root
})

const fresh = async () => ({...from.env, DATABASE_URL: await createDatabase()})
const changed = async (change: (lines: string[]) => string[]): Promise<string> => {
  const path = join(dir, 'changed.ndjson')
  await writeFile(path, `${change(lines).join('\n')}\n`)
  return path
}
const eventsIn = async (url: string): Promise<number> => {
  const pool = new Pool({connectionString: url, max: 1})
  const {rows} = await pool.query('SELECT count(*)::int AS events FROM log.events')
  await pool.end()
  return rows[0].events
}
/** From stdin; killed after a while where one is given. */
const importing = async (env: NodeJS.ProcessEnv, path: string, killAfterMs?: number) => {
  const child = spawn(process.execPath, ['bin/community.js', 'audit', 'import'], {
    env: {PATH: process.env.PATH, ...env},
  })
  createReadStream(path).pipe(child.stdin)
  child.stdin.on('error', () => {})
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  if (killAfterMs !== undefined) {
    await Promise.race([pause(killAfterMs), ended])
    child.kill('SIGKILL')
  }
  return {status: await ended, stderr}
}

describe('audit import', () => {
  it('brings an export into an empty log: the same root, and with the keys a server that reads it', async () => {
    const env = await fresh()
    const imported = await community(env, 'audit', 'import', file, '--keys', keys, '--json')
    expect(imported).toMatchObject({status: 0, stderr: ''})
    expect(JSON.parse(imported.stdout)).toEqual({events: lines.length, appended: lines.length, root, keys: true})
    expect(JSON.parse((await community(env, 'audit', 'seal')).stdout)).toMatchObject({root, size: lines.length})
    const again = await startServer(env)
    const me = visit(again.url)
    await eventually(async () => (await me.get('/api/posts')).body?.length === 5)
    expect((await me.get('/api/posts')).body[0]).toMatchObject({title: 'post 4', author_id: ann.id, author_name: 'Ann'})
    expect(await community(env, 'audit', 'import', file)).toMatchObject({
      status: 1,
      stderr: 'A server is running on this database: stop it first.\n',
    })
  })

  it('says what follows where the keys are not there', async () => {
    const env = await fresh()
    const imported = await community(env, 'audit', 'import', file)
    expect(imported).toMatchObject({status: 0, stdout: expect.stringContaining('no server starts on it')})
    expect(JSON.parse((await community(env, 'audit', 'seal')).stdout)).toMatchObject({root})
    expect((await community(env, 'audit', 'verify')).status).toBe(0)
    expect(await community(env, 'serve')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('begun with keys that are not'),
    })
  })

  it('refuses a log that holds an event, if only its identity', async () => {
    const env = await fresh()
    await (await startServer(env)).stop()
    expect(await eventually(() => eventsIn(env.DATABASE_URL))).toBe(1)
    expect(await community(env, 'audit', 'import', file)).toMatchObject({
      status: 1,
      stderr: 'The log holds events: import wants one that holds none, not even its identity.\n',
    })
  })

  it.each<[number, string, (lines: string[]) => string[]]>([
    [3, 'not JSON', (all) => all.with(2, all[2]!.slice(0, -9))],
    [4, 'should be here', (all) => all.toSpliced(3, 0, all[2]!)],
    [1, 'begins with HistoryBegan', (all) => all.slice(1)],
    [2, 'another log', (all) => all.with(1, all[1]!.replace(/urn:uuid:..../, 'urn:uuid:0000'))],
    [3, 'for time', (all) => all.with(2, all[2]!.replace(/"time":"..../, '"time":"1999'))],
    [3, 'for time', (all) => all.with(2, all[2]!.replace(/"time":"[^"]*",/, ''))],
    [4, 'for extra', (all) => all.with(3, all[3]!.replace('{', '{"extra":"x",'))],
    [5, 'the same id', (all) => all.with(4, all[4]!.replace(/"id":"[^"]*"/, all[3]!.match(/"id":"[^"]*"/)![0]))],
    [5, 'metadata', (all) => all.with(4, all[4]!.replace('"metadata":"{', '"metadata":"'))],
  ])('names line %i: %s; and writes nothing of a file', async (number, why, change) => {
    const env = await fresh()
    const refused = await community(env, 'audit', 'import', await changed(change))
    expect(refused).toMatchObject({status: 1, stdout: ''})
    expect(refused.stderr).toMatch(new RegExp(`^Line ${number} can not be imported: .*${why}.*\n$`))
    expect(await eventsIn(env.DATABASE_URL)).toBe(0)
  })

  it('is nothing until it is whole: killed, or stopped at a wrong line of stdin, it goes on when it is run again', {
    timeout: 120_000,
  }, async () => {
    const env = await fresh()
    const {identity} = JSON.parse(lines[0]!).data
    const more = historyOf(6_000).map((record) => lineOf(cloudEventOf(record, identity)))
    const good = join(dir, 'long.ndjson')
    await writeFile(good, `${[...lines, ...more].join('\n')}\n`)
    const bad = await changed((all) => [...all, ...more.with(2_000, '{}')])
    expect(await importing(env, bad)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(new RegExp(`^Line ${lines.length + 2_001} can not be imported`)),
    })
    const begun = await eventsIn(env.DATABASE_URL)
    expect(begun).toBeGreaterThan(1_000)
    for (const args of [['serve'], ['audit', 'export']])
      expect(await community(env, ...args)).toMatchObject({
        status: 1,
        stdout: '',
        stderr: expect.stringContaining('did not come to its end'),
      })
    const other = await changed((all) => all.with(3, all[3]!.replace(/"id":"..../, '"id":"0000')))
    expect((await importing(env, other)).stderr).toMatch(/^Line 4 is not what the log holds/)
    for (let ms = 500; (await eventsIn(env.DATABASE_URL)) < lines.length + more.length; ms *= 1.3)
      await importing(env, good, ms)
    const done = await community(env, 'audit', 'import', good, '--json')
    // Killed after its last event, or just in time to say that it was whole.
    if (done.status === 0) expect(JSON.parse(done.stdout)).toMatchObject({events: lines.length + more.length})
    else expect(done.stderr).toContain('The log holds events')
    const seal = JSON.parse((await community(env, 'audit', 'seal')).stdout)
    const elsewhere = await fresh()
    expect(JSON.parse((await community(elsewhere, 'audit', 'import', good, '--json')).stdout).root).toBe(seal.root)
  })
})
