import {type ChildProcess, execFile, spawn} from 'node:child_process'
import {mkdtemp, readFile, rm} from 'node:fs/promises'
import {createServer} from 'node:net'
import {availableParallelism, tmpdir} from 'node:os'
import {join} from 'node:path'
import {createInterface} from 'node:readline'
import {fileURLToPath} from 'node:url'
import {promisify} from 'node:util'
import {Client} from 'pg'
import {type EmbeddedPostgres, startEmbeddedPostgres} from '../src/database/embeddedPostgres.ts'

const SERVER = fileURLToPath(new URL('../bin/community.js', import.meta.url))
const BASELINES = fileURLToPath(new URL('./baselines/', import.meta.url))
const SERVER_CORE = 0
const OTHER_CORE = 1
/** Of /proc: what Linux counts a process' time in. */
const TICK_MS = 10

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
  /** The database of this name, filled once; `fill` is not called where an earlier run left it filled. */
  database(name: string, fill: (url: string) => Promise<void>): Promise<string>
  /** The server as people run it. */
  server(options: {databaseUrl: string; env?: NodeJS.ProcessEnv; nodeFlags?: string[]}): Promise<Running>
  /** A file of baselines/: it is given `options` as JSON, and says `ready` on a line. */
  baseline(file: string, options: object): Promise<Running>
  /** A file of baselines/ that does its work and says what came out, as JSON on one line. */
  work<T>(file: string, options: object): Promise<T>
  /** Ends the processes that were started since the last time. */
  endProcesses(): Promise<void>
  end(): Promise<void>
}

const isPinnable = process.platform === 'linux' && availableParallelism() > 1

/** This process, and what it starts without saying otherwise, runs on the core that the server does not have. */
export const pinGenerator = async (): Promise<void> => {
  if (!isPinnable)
    return void process.stderr.write('The processes are not pinned: this is not Linux, or has one core.\n')
  const pinned = spawn('taskset', ['-a', '-p', '-c', String(OTHER_CORE), String(process.pid)], {stdio: 'ignore'})
  await new Promise<void>((resolve, reject) => {
    pinned.once('error', reject)
    pinned.once('exit', (status) =>
      status === 0 ? resolve() : reject(new Error('taskset could not pin this process')),
    )
  })
}

/** `dataDir`: kept for the next run; null: removed after this one. */
export const openPlace = async (dataDir: string | null): Promise<Place> => {
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
    const command = [process.execPath, ...args]
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

  const endProcesses = async () => {
    await Promise.all([...running].map((one) => one.stop()))
  }

  return {
    database: async (name, fill) => {
      const url = await postgresUrl()
      const client = new Client({connectionString: url})
      await client.connect()
      try {
        const {rows} = await client.query('SELECT FROM pg_database WHERE datname = $1', [name])
        const own = url.replace(/\/community(?=\?|$)/, `/${name}`)
        if (rows.length > 0) return own
        // It bears its name only once it is filled.
        await client.query(`DROP DATABASE IF EXISTS filling`)
        await client.query(`CREATE DATABASE filling TEMPLATE template0`)
        await fill(url.replace(/\/community(?=\?|$)/, '/filling'))
        await client.query(`ALTER DATABASE filling RENAME TO ${name}`)
        return own
      } finally {
        await client.end()
      }
    },
    server: async ({databaseUrl, env = {}, nodeFlags = []}) => {
      const port = await freePort()
      return start([...nodeFlags, SERVER, 'serve'], {
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
    baseline: async (file, options) => {
      const port = await freePort()
      const args = [join(BASELINES, file), JSON.stringify({...options, port})]
      return start(args, {port, ready: /^ready$/, env: {NODE_ENV: 'production'}})
    },
    work: async (file, options) => {
      const command = [process.execPath, join(BASELINES, file), JSON.stringify(options)]
      if (isPinnable) command.unshift('taskset', '-c', String(SERVER_CORE))
      const {stdout} = await promisify(execFile)(command[0]!, command.slice(1), {env: {PATH: process.env.PATH}})
      return JSON.parse(stdout)
    },
    endProcesses,
    end: async () => {
      await endProcesses()
      await (await postgres?.catch(() => null))?.stop()
      if (dataDir === null) await rm(folder, {recursive: true, force: true})
    },
  }
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
