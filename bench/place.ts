import {type ChildProcess, execFile, spawn} from 'node:child_process'
import {createHash} from 'node:crypto'
import {mkdtemp, readFile, rm} from 'node:fs/promises'
import {createServer} from 'node:net'
import {availableParallelism, tmpdir} from 'node:os'
import {join} from 'node:path'
import {createInterface} from 'node:readline'
import {fileURLToPath} from 'node:url'
import {promisify} from 'node:util'
import {Client} from 'pg'
import {type EmbeddedPostgres, startEmbeddedPostgres} from '../src/database/embeddedPostgres.ts'
import {GENERATIONS_DDL} from '../src/projections/generations.ts'
import {tables} from '../src/projections/tables.ts'

const SERVER = fileURLToPath(new URL('../bin/community.js', import.meta.url))
const BASELINES = fileURLToPath(new URL('./baselines/', import.meta.url))
/** Those of `npm start`. */
export const START_FLAGS: readonly string[] = ['--max-semi-space-size=16']
const SERVER_CORE = 0
const OTHER_CORE = 1
/** Of /proc: what Linux counts a process' time in. */
const TICK_MS = 10

/** What a kept database was filled for: with other read tables it is filled anew. */
const FILLED_FOR = createHash('sha256')
  .update(
    JSON.stringify([GENERATIONS_DDL, tables.map(({view, columns, key, indexes}) => [view, columns, key, indexes])]),
  )
  .digest('hex')
  .slice(0, 12)

export const SECRETS = {
  NODE_ENV: 'production',
  SESSION_SECRET: 'a secret that signs the sessions of a benchmark',
  MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
}

/** A process under test. */
export type Running = {
  url: string
  pid: number
  /** From its start until it said that it is ready. */
  startMs: number
  /** The processor time that it has used so far, all its threads together. */
  cpuMs(): Promise<number>
  /** Its resident memory. */
  residentBytes(): Promise<number>
  stop(): Promise<void>
}

/** Where the figures are measured: one PostgreSQL, and processes that are pinned and ended by it. */
export type Place = {
  /** The database of this name, filled once; `fill` is not called where an earlier run left it filled for these tables. */
  database(name: string, fill: (url: string) => Promise<void>): Promise<string>
  /** A database for what writes to it, until the processes are ended. `of`: a copy of this one, which nobody uses. */
  freshDatabase(fill: (url: string) => Promise<void>, of?: string): Promise<string>
  /** The server as people run it. */
  server(options: {databaseUrl: string; env?: NodeJS.ProcessEnv; nodeFlags?: string[]}): Promise<Running>
  /** A file of baselines/: it is given `options` as JSON, and says `ready` on a line. */
  baseline(file: string, options: object, more?: {nodeFlags?: readonly string[]}): Promise<Running>
  /** A command of ours, from its start to its end. Answers the seconds. */
  command(args: string[], options: {databaseUrl: string}): Promise<number>
  /** A file of baselines/ that does its work and says what came out, as JSON on one line. */
  work<T>(file: string, options: object): Promise<T>
  /** Ends the processes that were started since the last time, and drops the fresh databases. */
  endProcesses(): Promise<void>
  end(): Promise<void>
}

const isPinnable = process.platform === 'linux' && availableParallelism() > 1

/** This process, and what it starts without saying otherwise, runs on the core that the server does not have. */
export const pinGenerator = async (): Promise<void> => {
  if (isPinnable) await pin(OTHER_CORE)
  else process.stderr.write('The processes are not pinned: this is not Linux, or has one core.\n')
}

const pin = async (core: number): Promise<void> => {
  await promisify(execFile)('taskset', ['-a', '-p', '-c', String(core), String(process.pid)])
}

/** What this process does itself, with PostgreSQL alone on the other core. */
export const onServerCore = async <T>(work: () => Promise<T>): Promise<T> => {
  if (!isPinnable) return work()
  await pin(SERVER_CORE)
  return work().finally(() => pin(OTHER_CORE))
}

/**
 * `dataDir`: kept for the next run; null: removed after this one. `profileDir`: where the processes under test leave what
 * their processor time went into.
 */
export const openPlace = async (dataDir: string | null, profileDir: string | null = null): Promise<Place> => {
  const folder = dataDir ?? (await mkdtemp(join(tmpdir(), 'community-bench-')))
  let postgres: Promise<EmbeddedPostgres> | null = null
  const running = new Set<Running>()

  const postgresUrl = async (): Promise<string> => {
    postgres ??= startEmbeddedPostgres({
      dataDir: folder,
      logger: {info: () => {}, warn: () => {}, error: () => {}},
      onExit: (reason) => process.stderr.write(`${reason}\n`),
    })
    return (await postgres).url
  }

  const start = async (
    args: string[],
    {env, port, ready}: {env: NodeJS.ProcessEnv; port: number; ready: RegExp},
  ): Promise<Running> => {
    const profiled = profileDir === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`]
    const command = [process.execPath, ...profiled, ...args]
    if (isPinnable) command.unshift('taskset', '-c', String(SERVER_CORE))
    const began = performance.now()
    const child = spawn(command[0]!, command.slice(1), {
      env: {PATH: process.env.PATH, ...env},
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const pid = child.pid!
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
    await untilSaid(child, ready)
    const one: Running = {
      url: `http://127.0.0.1:${port}`,
      pid,
      startMs: performance.now() - began,
      cpuMs: async () => {
        const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return (Number(fields[11]) + Number(fields[12])) * TICK_MS
      },
      residentBytes: async () => {
        const status = await readFile(`/proc/${pid}/status`, 'utf8')
        return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024
      },
      stop: async () => {
        running.delete(one)
        child.kill('SIGTERM')
        await ended
      },
    }
    running.add(one)
    return one
  }

  const asClient = async <T>(work: (client: Client, urlOf: (name: string) => string) => Promise<T>): Promise<T> => {
    const url = await postgresUrl()
    const client = new Client({connectionString: url})
    await client.connect()
    try {
      return await work(client, (name) => url.replace(/\/community(?=\?|$)/, `/${name}`))
    } finally {
      await client.end()
    }
  }

  let fresh = 0
  const endProcesses = async () => {
    await Promise.all([...running].map((one) => one.stop()))
    if (fresh === 0) return
    await asClient(async (client) => {
      for (; fresh > 0; fresh--) await client.query(`DROP DATABASE IF EXISTS fresh_${fresh} WITH (FORCE)`)
    })
  }

  return {
    database: (name, fill) =>
      asClient(async (client, urlOf) => {
        const filled = `${name}_${FILLED_FOR}`
        const {rows} = await client.query<{datname: string}>(
          `SELECT datname FROM pg_database WHERE datname ~ ('^' || $1 || '_[0-9a-f]{12}$')`,
          [name],
        )
        if (rows.some(({datname}) => datname === filled)) return urlOf(filled)
        for (const {datname} of rows) await client.query(`DROP DATABASE ${datname}`)
        // It bears its name only once it is filled.
        await client.query('DROP DATABASE IF EXISTS filling')
        await client.query('CREATE DATABASE filling TEMPLATE template0')
        await onServerCore(() => fill(urlOf('filling')))
        await client.query(`ALTER DATABASE filling RENAME TO ${filled}`)
        return urlOf(filled)
      }),
    freshDatabase: (fill, of) =>
      asClient(async (client, urlOf) => {
        const name = `fresh_${++fresh}`
        const template = of === undefined ? 'template0' : `${/\/(\w+)(?=\?|$)/.exec(of)![1]} STRATEGY file_copy`
        await client.query(`DROP DATABASE IF EXISTS ${name}`)
        await client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`)
        await onServerCore(() => fill(urlOf(name)))
        return urlOf(name)
      }),
    server: async ({databaseUrl, env = {}, nodeFlags = []}) => {
      const port = await freePort()
      return start([...START_FLAGS, ...nodeFlags, SERVER, 'serve'], {
        port,
        ready: /"the server is ready"/,
        env: {
          ...SECRETS,
          DATABASE_URL: databaseUrl,
          DATA_DIR: join(folder, 'server'),
          PORT: String(port),
          MAILS_PER_IP: '0',
          LOGINS_PER_MINUTE: '0',
          WRITES_PER_MINUTE: '1000000',
          MESSAGES_PER_MINUTE: '1000000',
          ...env,
        },
      })
    },
    baseline: async (file, options, {nodeFlags = []} = {}) => {
      const port = await freePort()
      const args = [...nodeFlags, join(BASELINES, file), JSON.stringify({...options, port})]
      return start(args, {port, ready: /^ready$/, env: {NODE_ENV: 'production'}})
    },
    command: async (args, {databaseUrl}) => {
      const began = performance.now()
      await runPinned([SERVER, ...args], {...SECRETS, DATABASE_URL: databaseUrl, DATA_DIR: join(folder, 'server')})
      return (performance.now() - began) / 1_000
    },
    work: async (file, options) => JSON.parse(await runPinned([join(BASELINES, file), JSON.stringify(options)], {})),
    endProcesses,
    end: async () => {
      await endProcesses()
      await (await postgres?.catch(() => null))?.stop()
      if (dataDir === null) await rm(folder, {recursive: true, force: true})
    },
  }
}

/** Runs on the server's core to its end. Answers what it printed. */
const runPinned = async (args: string[], env: NodeJS.ProcessEnv): Promise<string> => {
  const command = [process.execPath, ...args]
  if (isPinnable) command.unshift('taskset', '-c', String(SERVER_CORE))
  const options = {env: {PATH: process.env.PATH, ...env}}
  return (await promisify(execFile)(command[0]!, command.slice(1), options)).stdout
}

const untilSaid = (child: ChildProcess, ready: RegExp): Promise<void> => {
  let said = ''
  child.stderr!.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-4_000)
  })
  const lines = createInterface(child.stdout!)
  return new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      if (ready.test(line)) resolve()
      else said = `${said}${line}\n`.slice(-4_000)
    })
    child.once('close', (status) => {
      if (status) process.stderr.write(said)
      reject(new Error(`a process under test ended before it was ready: ${said}`))
    })
  })
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve((address as {port: number}).port))
    })
  })
