import type {Pool} from 'pg'
import {Client} from 'pg'
import {dropUnfed, readGenerations, targetOf} from '../projections/generations.ts'
import {eraseStatements} from '../projections/readTable.ts'
import {tables} from '../projections/tables.ts'

/** How often a checkpoint is asked for until the segments that held old rows are gone. */
const ROUNDS = 3
const INSUFFICIENT_PRIVILEGE = '42501'

export type Scrubbed = {
  people: number
  /** What this database user may not do, and a server's operator has to: docs/privacy.md says how. Until they have. */
  left: string[]
}

/**
 * Removes from the database's files what an erasure took out of its tables. Measured on PostgreSQL 18: after UPDATE,
 * VACUUM and CHECKPOINT the old text was still in the heap file, in an index, in pg_statistic and in two WAL segments. So
 * the tables are written into new files, their statistics too, and the WAL is switched until its old segments are gone
 * (the embedded server has wal_recycle off: a segment is removed, not used again with its old bytes). Throws when `signal`
 * ends it; it is then due as before.
 */
export const scrub = async (url: string, pool: Pool, signal?: AbortSignal): Promise<Scrubbed> => {
  const client = new Client({connectionString: url, application_name: 'community scrub'})
  client.on('error', () => {})
  const end = () => void client.end().catch(() => {})
  signal?.addEventListener('abort', end, {once: true})
  const left = new Set<string>()
  // To vacuum what is another's is skipped with a warning (SQLSTATE class 01), not refused.
  let isSkipped = false
  client.on('notice', ({code}) => {
    isSkipped ||= code?.startsWith('01') === true
  })
  const run = async (statement: string) => {
    isSkipped = false
    try {
      await client.query(statement)
    } catch (error) {
      if ((error as {code?: string}).code !== INSUFFICIENT_PRIVILEGE) throw error
      isSkipped = true
    }
    if (isSkipped) left.add(statement)
  }
  try {
    await client.connect()
    // Of two nodes the second finds nothing left to do.
    await client.query(`SELECT pg_advisory_lock(hashtext('community scrub'))`)
    const {rows} = await client.query<{person: string}>(
      'SELECT person FROM keys.people WHERE erased_at IS NOT NULL AND scrubbed_at IS NULL',
    )
    const people = rows.map(({person}) => person)
    if (people.length === 0) return {people: 0, left: await stillLeft(client)}
    await eraseWhereNobodyFeeds(pool, people)
    const {rows: names} = await client.query<{name: string}>(
      `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
       WHERE schemaname IN ('read', 'state', 'keys') ORDER BY 1`,
    )
    for (const {name} of names) await run(`VACUUM (FULL, ANALYZE) ${name}`)
    for (const catalog of ['pg_catalog.pg_statistic', 'pg_catalog.pg_statistic_ext_data'])
      await run(`VACUUM FULL ${catalog}`)
    for (let round = 0; round < ROUNDS; round++) {
      await run('SELECT pg_switch_wal()')
      await run('CHECKPOINT')
    }
    await keepLeft(client, [...left])
    await client.query('UPDATE keys.people SET scrubbed_at = now() WHERE person = ANY($1)', [people])
    return {people: people.length, left: [...left]}
  } finally {
    signal?.removeEventListener('abort', end)
    await client.end().catch(() => {})
  }
}

/** A table that was written anew has another file; a checkpoint begins in a later WAL segment once the older ones are done with. */
const markOf = async (client: Client, statement: string): Promise<{now: string; done: string}> => {
  const [table] = /\S+\.\S+$/.exec(statement) ?? []
  const {rows} = table
    ? await client.query(`SELECT f AS now, f AS done FROM (SELECT pg_relation_filenode($1)::text AS f) t`, [table])
    : await client.query(
        'SELECT pg_walfile_name(pg_current_wal_lsn()) AS now, redo_wal_file AS done FROM pg_control_checkpoint()',
      )
  return rows[0]
}

const keepLeft = async (client: Client, left: string[]): Promise<void> => {
  await client.query('DELETE FROM keys.left_statements')
  for (const [number, statement] of left.entries()) {
    const {now} = await markOf(client, statement)
    await client.query('INSERT INTO keys.left_statements VALUES ($1, $2, $3)', [number, statement, now])
  }
}

/** What was left to a superuser, and was not done since. */
const stillLeft = async (client: Client): Promise<string[]> => {
  const {rows} = await client.query<{statement: string; mark: string}>(
    'SELECT statement, mark FROM keys.left_statements ORDER BY number',
  )
  const left = []
  for (const {statement, mark} of rows) {
    const {done} = await markOf(client, statement)
    const isDone = statement.startsWith('VACUUM') ? done !== mark : done > mark
    if (!isDone) left.push(statement)
  }
  return left
}

/** Generations that no event reaches: a killed rebuild's, those that stopped at a fault, and other versions' tables. */
const eraseWhereNobodyFeeds = async (pool: Pool, people: readonly string[]): Promise<void> => {
  await dropUnfed(pool, tables)
  for (const generation of await readGenerations(pool, tables)) {
    if (generation.state !== 'building' && generation.fault === null) continue
    for (const person of people) {
      for (const {text, values} of eraseStatements(generation.table, targetOf(generation), person)) {
        await pool.query(text, values)
      }
    }
  }
}

/** Whether somebody was erased longer than `hours` ago and may still be in the files. */
export const isScrubDue = async (pool: Pool, hours: number): Promise<boolean> => {
  const {rows} = await pool.query(
    `SELECT FROM keys.people WHERE scrubbed_at IS NULL AND erased_at < now() - $1 * interval '1 hour' LIMIT 1`,
    [hours],
  )
  return rows.length > 0
}
