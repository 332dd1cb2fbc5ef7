import {existsSync} from 'node:fs'
import {resolve} from 'node:path'
import {setTimeout as sleep} from 'node:timers/promises'
import {Client} from 'pg'
import {clusterFolder, openCluster, readPassword} from './postgresCluster.ts'
import {boundLog, findPostmaster, readyPostmaster, shutDown, urlOf} from './postmaster.ts'
import {isRunning} from './processes.ts'
import {isLeasedToAnother} from './serverLease.ts'

type Log = (details: object, message: string) => void

export type EmbeddedPostgresOptions = {
  dataDir: string
  logger: {info: Log; warn: Log; error: Log}
  /** Called once, with one sentence, when the database went away by itself and could not be brought back. */
  onExit: (reason: string) => void
}

export type EmbeddedPostgres = {url: string; stop(): Promise<void>}

const RESTARTS_A_MINUTE = 5
const WATCH_MS = 250

/**
 * Starts the PostgreSQL in `dataDir`, made when it is not there, or adopts the one that a killed process left running.
 * `url` stays the same until `stop()`, also when the database crashes and is started again. `stop()` leaves the database
 * running where another process holds the server's lease. Throws one line that says what to do.
 */
export const startEmbeddedPostgres = async (options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> => {
  const {logger, onExit} = options
  const began = performance.now()
  const cluster = await openCluster(resolve(options.dataDir))
  const stopping = new AbortController()
  const first = await readyPostmaster(cluster, stopping.signal)
  const url = urlOf(cluster, first)
  await nameDatabase(cluster.folder, url).catch(async (error) => {
    if (!(await isLeasedToAnother(url))) await shutDown(first.pid)
    throw error
  })
  logger.info({postgres: first.pid, ms: Math.round(performance.now() - began)}, 'PostgreSQL is ready')

  const watch = async () => {
    let {pid} = first
    const restarts: number[] = []
    for (;;) {
      await sleep(WATCH_MS, undefined, {ref: false, signal: stopping.signal})
      await boundLog(cluster).catch(() => {})
      if (isRunning(pid)) continue
      logger.warn({postgres: pid}, 'PostgreSQL went away; it is started again')
      if (restarts.push(performance.now()) > RESTARTS_A_MINUTE && performance.now() - restarts.shift()! < 60_000) {
        throw new Error(`it went away ${RESTARTS_A_MINUTE + 1} times within a minute`)
      }
      const again = await readyPostmaster(cluster, stopping.signal, first.port)
      if (urlOf(cluster, again) !== url) throw new Error('another process started it at another address')
      pid = again.pid
      logger.info({postgres: pid}, 'PostgreSQL is back')
    }
  }
  const watching = watch().catch((error: Error) => {
    if (stopping.signal.aborted) return
    logger.error({reason: error.message}, 'PostgreSQL could not be brought back')
    onExit(`The embedded PostgreSQL could not be brought back: ${error.message}`)
  })

  const stop = async () => {
    stopping.abort()
    await watching
    const running = await findPostmaster(cluster.dataDir)
    if (!running) return
    if (await isLeasedToAnother(url))
      return logger.info({postgres: running.pid}, 'PostgreSQL stays up for another server')
    await shutDown(running.pid)
    logger.info({postgres: running.pid}, 'PostgreSQL has stopped')
  }
  let stopped: Promise<void> | undefined
  return {
    url,
    stop: () => {
      stopped ??= stop()
      return stopped
    },
  }
}

/** The database that a server beside this process runs in `dataDir`, or null. For the same user as the server's. */
export const findEmbeddedPostgres = async (options: {dataDir: string}): Promise<{url: string} | null> => {
  const dataDir = resolve(options.dataDir)
  const running = await findPostmaster(dataDir)
  if (running?.status !== 'ready') return null
  return {url: urlOf({folder: clusterFolder(dataDir), password: await readPassword(dataDir)}, running)}
}

/** Whether there is one in `dataDir`, running or not. */
export const hasEmbeddedPostgres = ({dataDir}: {dataDir: string}): boolean =>
  existsSync(clusterFolder(resolve(dataDir)))

/** initdb makes a database "postgres"; to rename it takes no time, another one would take 50 ms and 8 MB. */
const nameDatabase = async (folder: string, url: string) => {
  let trouble = await query(url, 'SELECT 1')
  if (trouble?.code === '3D000') {
    await query(url.replace(/\/community(?=\?|$)/, '/template1'), 'ALTER DATABASE postgres RENAME TO community')
    trouble = await query(url, 'SELECT 1')
  }
  if (trouble?.code === '28P01') {
    throw new Error(`${folder}/password is not the password of the database there: put it back from a backup.`)
  }
  if (trouble) throw new Error(`PostgreSQL runs in ${folder}, but does not answer: ${trouble.message}`)
}

const query = async (url: string, sql: string): Promise<(Error & {code?: string}) | null> => {
  const client = new Client({connectionString: url, connectionTimeoutMillis: 10_000, query_timeout: 10_000})
  // A connection that breaks fails its query as well.
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query(sql)
    return null
  } catch (error) {
    return error as Error & {code?: string}
  } finally {
    await client.end().catch(() => {})
  }
}
