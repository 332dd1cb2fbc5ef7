import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {constants} from 'node:fs'
import {copyFile, open, readFile, rm, stat, truncate} from 'node:fs/promises'
import {type AddressInfo, connect, createServer} from 'node:net'
import {join} from 'node:path'
import {setTimeout as sleep} from 'node:timers/promises'
import {postgresBinaries} from './postgresBinaries.ts'
import {type Cluster, clusterFolder} from './postgresCluster.ts'
import {bareEnvironment, isRunning, run} from './processes.ts'

/** A recovery after a crash may have a gigabyte to read (max_wal_size). */
const START_MS = 120_000
/**
 * A fast shutdown writes all changed buffers; an immediate one leaves them to the recovery of the next start, and kills
 * after 5 s what does not end (SIGKILL_CHILDREN_AFTER_SECS of PostgreSQL).
 */
const STOP_SIGNALS = [
  ['SIGINT', 4000],
  ['SIGQUIT', 6000],
  ['SIGKILL', 1000],
] as const
const LOG_BYTES = 4 * 1024 * 1024
const SOCKET_PORT = 5432

/** PostgreSQL's own words for what passes: another start was quicker, the backends of a killed one still end. */
const PASSING = /already exists|still in use|could not create any TCP\/IP sockets/

/** What postmaster.pid says of a running PostgreSQL, one fact a line (utils/pidfile.h of PostgreSQL). */
export type Postmaster = {pid: number; port: number; status: 'starting' | 'stopping' | 'ready' | 'standby' | undefined}

/**
 * The PostgreSQL that runs on this cluster, or null. A postmaster.pid left by a power cut is not one, even where its
 * pid now belongs to another process.
 */
export const findPostmaster = async (dataDir: string): Promise<Postmaster | null> => {
  const data = join(clusterFolder(dataDir), 'data')
  const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  const pid = Number(lines[0])
  if (!pid || !(await isPostmasterOf(pid, data))) return null
  return {pid, port: Number(lines[3]), status: lines[7]?.trim() as Postmaster['status']}
}

const isPostmasterOf = async (pid: number, data: string) => {
  if (!isRunning(pid)) return false
  // Its command line holds its folder.
  if (process.platform !== 'linux')
    return !(await run('/bin/sh', ['-c', 'ps -ww -o command= -p "$1" | grep -qF -- "$2"', 'sh', `${pid}`, data]))
  // It stands in its data folder before it writes the file, and never leaves it.
  const [here, there] = await Promise.all([stat(data), stat(`/proc/${pid}/cwd`).catch(() => null)])
  return here.ino === there?.ino && here.dev === there.dev
}

/**
 * PostgreSQL itself removes lock files whose pid is nobody's. But after a power cut, or in a new container, the pid may
 * be anybody's, and one that nobody waited for stays a zombie's.
 */
const removeStaleLocks = async (folder: string) => {
  for (const lock of [join(folder, 'data/postmaster.pid'), join(folder, `.s.PGSQL.${SOCKET_PORT}.lock`)]) {
    const pid = Number.parseInt(await readFile(lock, 'utf8').catch(() => ''), 10)
    if (pid && isTaken(pid) && !(await isPostmasterOf(pid, join(folder, 'data')))) await rm(lock, {force: true})
  }
}

const isTaken = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** The address of a Unix socket holds 107 bytes on Linux and 103 on macOS (sun_path of sys/un.h). */
const hasSocket = (folder: string) =>
  process.platform !== 'win32' && Buffer.byteLength(`${folder}/.s.PGSQL.5432`) <= 103

export const urlOf = ({folder, password}: Pick<Cluster, 'folder' | 'password'>, {port}: {port: number}) =>
  hasSocket(folder)
    ? `postgresql://community:${password}@/community?host=${encodeURIComponent(folder)}&port=${port}`
    : `postgresql://community:${password}@127.0.0.1:${port}/community`

/** The PostgreSQL of this cluster once it takes connections: the one that runs, or a new one, at `port` if given. */
export const readyPostmaster = async (cluster: Cluster, stopping: AbortSignal, port?: number): Promise<Postmaster> => {
  const deadline = performance.now() + START_MS
  let started: Started | undefined
  let complaint = 'it is still starting'
  try {
    while (performance.now() < deadline) {
      const running = await findPostmaster(cluster.dataDir)
      if (running?.status === 'ready') return running
      if (!running && !started) {
        await refuseUnseen(cluster)
        await removeStaleLocks(cluster.folder)
        started = await spawnPostmaster(cluster, port ?? (hasSocket(cluster.folder) ? SOCKET_PORT : await freePort()))
      } else if (!running && started?.hasEnded()) {
        complaint = await started.complaint()
        started = undefined
        if (!PASSING.test(complaint)) break
        await sleep(100, undefined, {signal: stopping})
      }
      await sleep(10, undefined, {signal: stopping})
    }
    throw new Error(`PostgreSQL does not start in ${cluster.folder}: ${complaint} (see ${logOf(cluster)})`)
  } catch (error) {
    started?.kill()
    throw error
  }
}

/** A socket that answers with no process of ours behind it: another container has the same folder. */
const refuseUnseen = async ({dataDir, folder}: Cluster) => {
  if (!hasSocket(folder)) return
  const probe = connect(join(folder, `.s.PGSQL.${SOCKET_PORT}`))
  const answers = await once(probe, 'connect').then(
    () => true,
    () => false,
  )
  probe.destroy()
  if (answers && !(await findPostmaster(dataDir))) {
    throw new Error(`Another container runs a database in ${folder}: stop it, or set another DATA_DIR.`)
  }
}

/** The port may be taken again before PostgreSQL has it; that passes, another one is tried. */
const freePort = async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const {port} = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** What a query says or holds stays out of the log: no errors of queries, no statement, no detail. */
const settings = (folder: string, port: number) => ({
  port,
  listen_addresses: hasSocket(folder) ? '' : '127.0.0.1',
  // Relative to the data folder, so that no name of a folder needs quoting.
  unix_socket_directories: hasSocket(folder) ? '..' : '',
  unix_socket_permissions: '0700',
  max_connections: 100,
  shared_buffers: '64MB',
  wal_recycle: 'off',
  jit: 'off',
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_parameter_max_length_on_error: 0,
  log_error_verbosity: 'terse',
  log_checkpoints: 'off',
})

// Not through a link: as root we would write where the owner of the folder wants.
const LOG_FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW

type Started = {hasEnded(): boolean; complaint(): Promise<string>; kill(): void}

const spawnPostmaster = async (cluster: Cluster, port: number): Promise<Started> => {
  const binaries = await postgresBinaries(cluster.dataDir, cluster.account)
  const args = Object.entries(settings(cluster.folder, port)).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const log = await open(logOf(cluster), LOG_FLAGS, 0o600)
  try {
    const {size} = await log.stat()
    const child = spawn(join(binaries, 'postgres'), ['-D', cluster.data, ...args], {
      ...cluster.account,
      cwd: '/',
      env: bareEnvironment,
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    })
    await once(child, 'spawn')
    child.unref()
    return {
      hasEnded: () => child.exitCode !== null || child.signalCode !== null,
      complaint: () => complaintAfter(logOf(cluster), size),
      kill: () => void child.kill('SIGQUIT'),
    }
  } finally {
    await log.close()
  }
}

const logOf = ({dataDir}: Cluster) => join(dataDir, 'postgres.log')

const complaintAfter = async (path: string, offset: number) => {
  const lines = (await readFile(path)).subarray(offset).toString().trim().split('\n')
  // A client that was told "the database system is starting up" is in the log as well.
  const fatal = lines.find((line) => /(FATAL|PANIC): +(?!the database system is)/.test(line))
  return (fatal ?? lines.at(-1)!).replace(/^.*(FATAL|PANIC): +/, '')
}

/** PostgreSQL keeps the file open, so it is emptied and not renamed. */
export const boundLog = async (cluster: Cluster) => {
  const path = logOf(cluster)
  const {size} = await stat(path)
  if (size < LOG_BYTES) return
  await rm(`${path}.1`, {force: true})
  await copyFile(path, `${path}.1`, constants.COPYFILE_EXCL)
  await truncate(path)
}

export const shutDown = async (pid: number) => {
  for (const [signal, ms] of STOP_SIGNALS) {
    try {
      process.kill(pid, signal)
    } catch {
      return
    }
    const deadline = performance.now() + ms
    while (performance.now() < deadline) {
      if (!isRunning(pid)) return
      await sleep(10)
    }
  }
}
