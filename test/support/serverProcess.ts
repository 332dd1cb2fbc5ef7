import {type ChildProcess, spawn} from 'node:child_process'
import {readdir, readFile} from 'node:fs/promises'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {watchProcess} from './conformance.ts'
import {eventually} from './eventually.ts'
import {BOT_TOKEN, linkIn, type TestServer} from './server.ts'

const MAIN = fileURLToPath(new URL('../../bin/community.js', import.meta.url))

export type Ended = {status: number | null; signal: NodeJS.Signals | null; ms: number}

/** `node bin/community.js serve`, as people run it, in a process group of its own. */
export type ServerProcess = TestServer & {
  pid: number
  stderr(): string
  /** Sends the signal and waits for the end; `ms` is how long that took. */
  end(signal: NodeJS.Signals, options?: {group?: boolean}): Promise<Ended>
  ended: Promise<Ended>
}

/** `main`: of another checkout. */
export type SpawnOptions = {env?: NodeJS.ProcessEnv; as?: {uid: number; gid: number} | undefined; main?: string}

const spawned = new Set<ChildProcess>()

/** Starts the process; nothing is awaited, so it may be one that refuses to start. */
export const spawnProcess = (dataDir: string, {env = {}, as, main = MAIN}: SpawnOptions = {}) => {
  const full: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    DATA_DIR: dataDir,
    PORT: '0',
    BCRYPT_COST: '4',
    MAILS_PER_IP: '0',
    LOGINS_PER_MINUTE: '0',
    WRITES_PER_MINUTE: '0',
    MESSAGES_PER_MINUTE: '0',
    CHAT_BOT_TOKEN: BOT_TOKEN,
    ...env,
  }
  const child = spawn(process.execPath, [main, 'serve'], {...as, cwd: '/', env: full, detached: true})
  spawned.add(child)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const began = performance.now()
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (status, signal) => {
      spawned.delete(child)
      resolve({status, signal, ms: performance.now() - began})
    })
  })
  return {child, env: full, ended, stdout: () => stdout, stderr: () => stderr}
}

/** Starts the server and waits until it is ready. */
export const spawnServer = async (dataDir: string, options: SpawnOptions = {}): Promise<ServerProcess> => {
  const {child, env, ended, stdout, stderr} = spawnProcess(dataDir, options)
  const port = await eventually(
    () => {
      if (child.exitCode !== null) throw new Error(`it ended: ${stderr()}${stdout()}`)
      return /"port":(\d+),.*"the server is ready"/.exec(stdout())?.[1]
    },
    {ms: 30_000, what: 'the server to be ready'},
  )
  const pid = child.pid!
  const end = async (signal: NodeJS.Signals, {group = false} = {}): Promise<Ended> => {
    const began = performance.now()
    process.kill(group ? -pid : pid, signal)
    return {...(await ended), ms: performance.now() - began}
  }
  const url = `http://127.0.0.1:${port}`
  watchProcess(url)
  return {
    pid,
    url,
    databaseUrl: env.DATABASE_URL ?? '',
    dataDir,
    logged: [],
    env,
    stderr,
    end,
    ended,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) await end('SIGTERM')
    },
    links: async (address) => {
      const folder = join(dataDir, 'mail')
      const files = (await readdir(folder).catch(() => [])).filter((file) => file.endsWith('.eml')).sort()
      const mails = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))
      return mails.filter((mail) => mail.includes(address)).map(linkIn)
    },
  }
}

/** The pid of the embedded PostgreSQL in this folder, where one runs. */
export const postgresPid = async (dataDir: string): Promise<number | null> => {
  const file = await readFile(join(dataDir, 'postgres/data/postmaster.pid'), 'utf8').catch(() => '')
  const pid = Number.parseInt(file, 10)
  try {
    return pid && process.kill(pid, 0) ? pid : null
  } catch {
    return null
  }
}

/** Ends what a failed test left running. */
export const endAll = async (dataDirs: string[]): Promise<void> => {
  for (const child of spawned) child.kill('SIGKILL')
  await eventually(() => spawned.size === 0)
  for (const dataDir of dataDirs) {
    const pid = await postgresPid(dataDir)
    if (pid) process.kill(pid, 'SIGQUIT')
    await eventually(async () => (await postgresPid(dataDir)) === null)
  }
}
