import type {Pool} from 'pg'
import {Client} from 'pg'

/** How often a checkpoint is asked for until the segments that held old rows are gone. */
const ROUNDS = 3
const INSUFFICIENT_PRIVILEGE = '42501'

export type Scrubbed = {
  people: number
  /** What this database user may not do, and a server's operator has to: docs/operations.md says how. */
  left: string[]
}

/**
 * Removes from the database's files what an erasure took out of its tables. Measured on PostgreSQL 18: after UPDATE,
 * VACUUM and CHECKPOINT the old text was still in the heap file, in an index, in pg_statistic and in two WAL segments. So
 * the tables are written into new files, their statistics too, and the WAL is switched until its old segments are gone
 * (the embedded server has wal_recycle off: a segment is removed, not used again with its old bytes).
 */
export const scrub = async (url: string, pool: Pool): Promise<Scrubbed> => {
  const {rows: erased} = await pool.query<{person: string}>(
    'SELECT person FROM keys.people WHERE erased_at IS NOT NULL AND scrubbed_at IS NULL',
  )
  const left: string[] = []
  const client = new Client({connectionString: url, application_name: 'community scrub'})
  await client.connect()
  const run = async (statement: string) => {
    try {
      await client.query(statement)
    } catch (error) {
      if ((error as {code?: string}).code !== INSUFFICIENT_PRIVILEGE) throw error
      left.push(statement)
    }
  }
  try {
    const {rows: tables} = await client.query<{name: string}>(
      `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
       WHERE schemaname IN ('read', 'state', 'keys') ORDER BY 1`,
    )
    for (const {name} of tables) await run(`VACUUM (FULL, ANALYZE) ${name}`)
    for (const catalog of ['pg_catalog.pg_statistic', 'pg_catalog.pg_statistic_ext_data'])
      await run(`VACUUM FULL ${catalog}`)
    for (let round = 0; round < ROUNDS; round++) {
      await run('SELECT pg_switch_wal()')
      await run('CHECKPOINT')
    }
  } finally {
    await client.end()
  }
  if (left.length === 0) {
    await pool.query('UPDATE keys.people SET scrubbed_at = now() WHERE person = ANY($1)', [
      erased.map(({person}) => person),
    ])
  }
  return {people: erased.length, left}
}

/** Whether somebody was erased longer than `hours` ago and may still be in the files. */
export const isScrubDue = async (pool: Pool, hours: number): Promise<boolean> => {
  const {rows} = await pool.query(
    `SELECT FROM keys.people WHERE scrubbed_at IS NULL AND erased_at < now() - $1 * interval '1 hour' LIMIT 1`,
    [hours],
  )
  return rows.length > 0
}
