import {randomUUID} from 'node:crypto'
import {setTimeout as sleep} from 'node:timers/promises'
import {Pool} from 'pg'
import {processHost, processStart} from './processes.ts'
import {makeSchema} from './schema.ts'

const LEASE_SECONDS = 3
const RENEW_MS = 750

export type ServerLease = {release(): Promise<void>}

type Holder = {holder: string; host: string; pid: number; started: string; expiresAt: string; expired: boolean}

const readHolder = async (pool: Pool): Promise<Holder | undefined> => {
  const {rows} = await pool.query<Holder>(
    `SELECT holder, host, pid, started, expires_at::text AS "expiresAt", expires_at < clock_timestamp() AS expired
     FROM state.server_lease`,
  )
  return rows[0]
}

const connect = (url: string) => {
  const pool = new Pool({connectionString: url, max: 1, connectionTimeoutMillis: 2000, query_timeout: 2000})
  // An idle connection that broke; the next query opens another.
  pool.on('error', () => {})
  return pool
}

/** Where the system does not say when a process started, every process counts as living. */
const startOf = (pid: number) => processStart(pid) ?? ''

const isDead = ({host, pid, started}: Holder) => host === processHost() && startOf(pid) !== started

/**
 * Makes this process the one server of a database: a row that is renewed each {@link RENEW_MS} and expires after
 * {@link LEASE_SECONDS} by the database's clock. A dead holder on this host is succeeded at once, a silent one when its
 * time is over. Throws one sentence as soon as the holder is seen to renew. `onLost` is called once, when another took
 * the lease (this process had been paused): it must stop, and leave the database running.
 */
export const takeServerLease = async ({url, onLost}: {url: string; onLost: () => void}): Promise<ServerLease> => {
  const pool = connect(url)
  const holder = randomUUID()
  try {
    await makeSchema(pool, [
      'CREATE SCHEMA IF NOT EXISTS state;',
      `CREATE TABLE IF NOT EXISTS state.server_lease (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        holder uuid NOT NULL, host text NOT NULL, pid int NOT NULL, started text NOT NULL, expires_at timestamptz NOT NULL
      );`,
    ])
    await take(pool, holder)
  } catch (error) {
    await pool.end()
    throw error
  }

  const released = new AbortController()
  const renewing = (async () => {
    for (;;) {
      await sleep(RENEW_MS, undefined, {ref: false, signal: released.signal}).catch(() => {})
      if (released.signal.aborted) return
      const renewal = await pool
        .query(
          `UPDATE state.server_lease SET expires_at = clock_timestamp() + interval '${LEASE_SECONDS} s'
           WHERE holder = $1`,
          [holder],
        )
        // A database that does not answer gives the lease to nobody else either.
        .catch(() => null)
      if (renewal?.rowCount === 0 && !released.signal.aborted) return onLost()
    }
  })()

  return {
    release: async () => {
      released.abort()
      await renewing
      await pool.query('DELETE FROM state.server_lease WHERE holder = $1', [holder]).catch(() => {})
      await pool.end()
    },
  }
}

const take = async (pool: Pool, holder: string) => {
  let before: Holder | undefined
  for (;;) {
    const now = await readHolder(pool)
    const {rowCount} = await pool.query(
      `INSERT INTO state.server_lease AS lease (holder, host, pid, started, expires_at)
       VALUES ($1, $2, $3, $4, clock_timestamp() + interval '${LEASE_SECONDS} s')
       ON CONFLICT (only_row) DO UPDATE
         SET (holder, host, pid, started, expires_at)
           = (excluded.holder, excluded.host, excluded.pid, excluded.started, excluded.expires_at)
         WHERE lease.expires_at < clock_timestamp() OR lease.holder = $5`,
      [holder, processHost(), process.pid, startOf(process.pid), now && isDead(now) ? now.holder : null],
    )
    if (rowCount === 1) return
    if (before && now && before.expiresAt !== now.expiresAt) {
      throw new Error(
        `Another server (process ${now.pid}) is running on this database: stop it, or set another DATA_DIR.`,
      )
    }
    before = now
    await sleep(100)
  }
}

/** Whether a process other than this one holds an unexpired lease. A database that does not answer has no server. */
export const isLeasedToAnother = async (url: string): Promise<boolean> => {
  const pool = connect(url)
  try {
    const lease = await readHolder(pool)
    const own = lease?.host === processHost() && lease.pid === process.pid
    return lease !== undefined && !own && !lease.expired && !isDead(lease)
  } catch {
    return false
  } finally {
    await pool.end()
  }
}
