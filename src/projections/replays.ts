import type {Client, Pool} from 'pg'
import type {Codec} from '../log/codec.ts'
import type {LogRecord} from '../log/eventLog.ts'
import type {TailEvent} from '../log/tail.ts'
import {foldEvents, runsOf} from './feeding.ts'
import {indexesOf, makeTable} from './generations.ts'
import type {ReadTable} from './readTable.ts'

/** How the comment of a schema begins that a replay made: by it an erasure finds it, whatever it is called. */
const MARK = 'community replay'
/** Events that are written together. */
const GATHER_EVENTS = 4_000
/** How long an erasure waits for who reads a replay, before it ends their connections. */
const LOCK_TIMEOUT = '500ms'
const LOCK_NOT_AVAILABLE = '55P03'
const DUPLICATE_SCHEMA = '42P06'
const ADMIN_SHUTDOWN = '57P01'

/** A table could not take an event, as its live one could not; or the schema is not there to be made. */
export class ReplayFailed extends Error {
  override name = 'ReplayFailed'
}

export const targetIn = (schema: string, {name}: ReadTable): string => `"${schema}".${name}`

/**
 * Folds events into plain tables of a new schema, in one transaction: a replay is whole or not there. Its schema is there
 * and marked before the first event is opened, and an erasure destroys the key before it looks for replays: so it finds
 * this one, or this one finds no key.
 */
export const replay = async (
  client: Client,
  codec: Codec,
  {schema, tables, asOf}: {schema: string; tables: readonly ReadTable[]; asOf: string},
  history: AsyncIterable<LogRecord[]>,
): Promise<{events: number; position: bigint | null}> => {
  let isEnded = false
  client.on('error', () => {
    isEnded = true
  })
  const comment = (about: string) =>
    client.query(`COMMENT ON SCHEMA "${schema}" IS ${client.escapeLiteral(`${MARK}, ${about}`)}`)
  await client.query('BEGIN')
  try {
    await client.query(`CREATE SCHEMA "${schema}"`)
    await comment('not complete')
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    if ((error as {code?: string}).code !== DUPLICATE_SCHEMA) throw error
    throw new ReplayFailed(`There is a schema ${schema} already: choose another name, or drop it.`)
  }
  try {
    await client.query('BEGIN')
    for (const table of tables) await makeTable(client, table, targetIn(schema, table))
    const filled = await fillAll(client, codec, {schema, tables}, history)
    for (const table of tables)
      for (const statement of indexesOf(table, targetIn(schema, table), false)) await client.query(statement)
    await comment(asOf)
    await client.query('COMMIT')
    return filled
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {})
    await client.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`).catch(() => {})
    if (!isEnded && (error as {code?: string}).code !== ADMIN_SHUTDOWN) throw error
    throw new ReplayFailed('Somebody was erased meanwhile, or the database was stopped: run it again.')
  }
}

const fillAll = async (
  client: Client,
  codec: Codec,
  {schema, tables}: {schema: string; tables: readonly ReadTable[]},
  history: AsyncIterable<LogRecord[]>,
): Promise<{events: number; position: bigint | null}> => {
  const isNeeded = ({type}: LogRecord) =>
    type === 'UserErased' || tables.some(({handlers}) => handlers[type] !== undefined)
  let gathered: TailEvent[] = []
  let events = 0
  let position: bigint | null = null
  let written = Promise.resolve()
  const write = async () => {
    await written
    const page = gathered
    gathered = []
    // PostgreSQL writes these while the next ones are read and opened.
    written = apply(client, {schema, tables}, page)
    // It is awaited by the next write; until then nobody else may hear of it.
    written.catch(() => {})
  }
  for await (const records of history) {
    gathered.push(...(await codec.decode(records.filter(isNeeded))))
    events += records.length
    position = records.at(-1)!.position
    if (gathered.length >= GATHER_EVENTS) await write()
  }
  await write()
  await written
  return {events, position}
}

const apply = async (
  client: Client,
  {schema, tables}: {schema: string; tables: readonly ReadTable[]},
  page: TailEvent[],
): Promise<void> => {
  for (const events of runsOf(page)) {
    for (const table of tables) {
      const {statements, fault} = foldEvents({table, target: targetIn(schema, table), position: null}, events)
      if (fault !== null) throw new ReplayFailed(`${table.name} can't take ${fault}`)
      for (const {text, values} of statements) await client.query(text, values)
    }
  }
}

/**
 * Drops every replay there is: they hold what was the erased person's. Who reads one gets little time to end. One process
 * does so at a time, or two would end each other's connections.
 */
export const dropReplays = async (pool: Pool): Promise<void> => {
  const {rows} = await pool.query<{oid: string; name: string}>(
    `SELECT n.oid, quote_ident(nspname) AS name FROM pg_namespace n
     JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass WHERE d.description LIKE $1`,
    [`${MARK},%`],
  )
  if (rows.length === 0) return
  const client = await pool.connect()
  try {
    await client.query(`SELECT pg_advisory_lock(hashtext('community replays'))`)
    await client.query(`SET lock_timeout = '${LOCK_TIMEOUT}'`)
    for (const {oid, name} of rows) {
      const drop = () => client.query(`DROP SCHEMA IF EXISTS ${name} CASCADE`)
      await drop().catch(async (error: {code?: string}) => {
        if (error.code !== LOCK_NOT_AVAILABLE) throw error
        await client.query(
          `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE pid <> pg_backend_pid() AND granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND (relation IN (SELECT oid FROM pg_class WHERE relnamespace = $1) OR objid = $1)`,
          [oid],
        )
        await drop()
      })
    }
  } finally {
    // With the connection go the lock and its settings.
    client.release(true)
  }
}
