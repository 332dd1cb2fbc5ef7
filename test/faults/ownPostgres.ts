import {Client} from 'pg'
import {openCluster} from '../../src/database/postgresCluster.ts'
import {readyPostmaster, shutDown, urlOf} from '../../src/database/postmaster.ts'
import {isRunning} from '../../src/database/processes.ts'
import {eventually} from '../support/eventually.ts'

/** A PostgreSQL of a test's own, which it may kill. */
export type OwnPostgres = {
  url: string
  pid(): number
  /** kill -9 of the postmaster; resolves when it is gone. */
  kill(): Promise<void>
  /** Starts it where it does not run; resolves when it takes connections, throws where it does not start. */
  start(): Promise<void>
  stop(): Promise<void>
}

export const startOwnPostgres = async (dataDir: string): Promise<OwnPostgres> => {
  const cluster = await openCluster(dataDir)
  const signal = new AbortController().signal
  const first = await readyPostmaster(cluster, signal)
  let {pid} = first
  const url = urlOf(cluster, first)
  const client = new Client({connectionString: url.replace(/\/community(?=\?|$)/, '/postgres')})
  await client.connect()
  await client.query('CREATE DATABASE community TEMPLATE template0')
  await client.end()
  return {
    url,
    pid: () => pid,
    kill: async () => {
      process.kill(pid, 'SIGKILL')
      await eventually(() => !isRunning(pid), {what: 'PostgreSQL to be gone'})
    },
    start: async () => {
      pid = (await readyPostmaster(cluster, signal, first.port)).pid
    },
    stop: () => shutDown(pid),
  }
}
