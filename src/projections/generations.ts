import type {Client, ClientBase, Pool, PoolClient} from 'pg'
import type {EventLog} from '../log/eventLog.ts'
import type {ReadTable} from './readTable.ts'

/**
 * A generation is one table that a view can show. `position` and `event_id` are its checkpoint: the newest event that its
 * rows hold, in the log with this identity behind this adapter. `building`: filled from the log's beginning; `joined`: has
 * caught up and is fed beside the live one; `live`: what the view shows; `kept`: was live before, and is fed on. `fault` is
 * the event it stopped at and why; `because` why it was begun in the place of others. A lease says which node feeds a view's generations; a write must bear its term.
 */
export const GENERATIONS_DDL = `
CREATE SCHEMA IF NOT EXISTS read;
CREATE TABLE IF NOT EXISTS read.generations (
  view text NOT NULL,
  generation int NOT NULL,
  state text NOT NULL CHECK (state IN ('building', 'joined', 'live', 'kept')),
  log_identity uuid NOT NULL,
  adapter text NOT NULL,
  position bigint,
  event_id uuid,
  fault text,
  PRIMARY KEY (view, generation)
);
ALTER TABLE read.generations ADD COLUMN IF NOT EXISTS because text;
CREATE UNIQUE INDEX IF NOT EXISTS generations_live ON read.generations (view) WHERE state = 'live';
CREATE TABLE IF NOT EXISTS read.leases (
  view text PRIMARY KEY,
  holder uuid NOT NULL,
  term bigint NOT NULL,
  expires_at timestamptz NOT NULL
);
-- Nodes of an older version have read.advance, which tells others by itself.
CREATE OR REPLACE FUNCTION read.move_checkpoints(
  terms bigint[], views text[], generations int[], expected bigint[], new_position bigint, new_event uuid
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE wanted int; held int; advanced int;
BEGIN
  -- The row locks keep a successor from taking a lease between this check and the commit. Without a term it is the
  -- builder of a generation that no lease feeds yet: for it the checkpoint alone is the fence.
  SELECT count(DISTINCT n.view) INTO wanted FROM unnest(views, terms) AS n(view, term) WHERE n.term IS NOT NULL;
  PERFORM FROM read.leases l JOIN (SELECT DISTINCT * FROM unnest(views, terms) AS n(view, term)) n
    ON l.view = n.view AND l.term = n.term FOR SHARE OF l;
  GET DIAGNOSTICS held = ROW_COUNT;
  IF held <> wanted THEN RAISE EXCEPTION 'the lease is over' USING ERRCODE = 'FE001'; END IF;
  UPDATE read.generations g SET position = new_position, event_id = new_event, fault = NULL
  FROM unnest(views, generations, expected) AS n(view, generation, position)
  WHERE g.view = n.view AND g.generation = n.generation AND g.position IS NOT DISTINCT FROM n.position;
  GET DIAGNOSTICS advanced = ROW_COUNT;
  IF advanced <> cardinality(views) THEN
    RAISE EXCEPTION 'a checkpoint was moved by another runner' USING ERRCODE = 'FE001';
  END IF;
END $$;
`

/** Whether the fence stopped a write: the lease, a checkpoint or the whole generation is another's now, or gone. */
export const isFenced = (error: unknown): boolean => ['FE001', UNDEFINED_TABLE].includes((error as {code: string}).code)

const UNDEFINED_TABLE = '42P01'

type Target = {table: Pick<ReadTable, 'view'>; generation: number}
export type GenerationState = 'building' | 'joined' | 'live' | 'kept'
export type Generation = {
  table: ReadTable
  generation: number
  state: GenerationState
  logIdentity: string
  adapter: string
  position: bigint | null
  eventId: string | null
  fault: string | null
  because: string | null
}

export const targetOf = ({table, generation}: Target): string => `${table.view}_g${generation}`

const SELECT =
  'SELECT view, generation, state, log_identity, adapter, position, event_id, fault, because FROM read.generations'

/** Every generation of these tables, by view and age. */
export const readGenerations = async (db: Pool | PoolClient, tables: readonly ReadTable[]): Promise<Generation[]> => {
  const {rows} = await db.query(`${SELECT} WHERE view = ANY($1) ORDER BY view, generation`, [
    tables.map(({view}) => view),
  ])
  return rows.map((row) => ({
    table: tables.find(({view}) => view === row.view)!,
    generation: row.generation,
    state: row.state,
    logIdentity: row.log_identity,
    adapter: row.adapter,
    position: row.position === null ? null : BigInt(row.position),
    eventId: row.event_id,
    fault: row.fault,
    because: row.because,
  }))
}

/** Whether the log still has, at the generation's checkpoint, the event that was there. */
export const isOfLog = async (
  log: EventLog,
  logIdentity: string,
  {position, eventId, ...generation}: Generation,
): Promise<boolean> => {
  if (generation.logIdentity !== logIdentity || generation.adapter !== log.adapter) return false
  return position === null || (await log.readAt(position))?.id === eventId
}

/** One transaction that changes generations: alone, not waiting long for who reads the tables, told to every node. */
const changing = async <T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query(`SELECT pg_advisory_xact_lock(hashtext('community read tables'))`)
    await client.query(`SET LOCAL lock_timeout = '200ms'`)
    const result = await work(client)
    await client.query(`SELECT pg_notify('read', '{}')`)
    await client.query('COMMIT')
    client.release()
    return result
  } catch (error) {
    client.release(true)
    throw error
  }
}

const LOCK_NOT_AVAILABLE = '55P03'

/** Again until no reader is in the way: a reader that waits behind this lock would wait with everybody behind it. */
const insisting = async <T>(work: () => Promise<T>): Promise<T> => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if ((error as {code?: string}).code !== LOCK_NOT_AVAILABLE || attempt === 100) throw error
      await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 80))
    }
  }
}

const drop = async (client: PoolClient, {table, generation}: Target) => {
  // In this order: whoever feeds it writes rows first, and then the checkpoint.
  await client.query(`DROP TABLE IF EXISTS ${targetOf({table, generation})}`)
  await client.query('DELETE FROM read.generations WHERE view = $1 AND generation = $2', [table.view, generation])
}

const show = async (client: PoolClient, of: Pick<Generation, 'table' | 'generation'>) => {
  const columns = Object.keys(of.table.columns).join(', ')
  await client.query(`CREATE OR REPLACE VIEW ${of.table.view} AS SELECT ${columns} FROM ${targetOf(of)}`)
}

const setState = async (
  client: PoolClient,
  {table, generation}: Pick<Generation, 'table' | 'generation'>,
  state: GenerationState,
): Promise<void> => {
  await client.query('UPDATE read.generations SET state = $3, because = NULL WHERE view = $1 AND generation = $2', [
    table.view,
    generation,
    state,
  ])
}

/** With unique indexes only: {@link indexesOf} says what the others are. */
export const makeTable = async (client: ClientBase, table: ReadTable, target: string): Promise<void> => {
  const columns = Object.entries(table.columns).map(([name, type]) => `${name} ${type}`)
  await client.query(`CREATE TABLE ${target} (${columns.join(', ')}, PRIMARY KEY (${table.key.join(', ')}))`)
  for (const statement of indexesOf(table, target, true)) await client.query(statement)
}

type Of = {logIdentity: string; adapter: string}

const create = async (client: PoolClient, table: ReadTable, of: Of, because?: string): Promise<number> => {
  try {
    return await make(client, table, of, because)
  } catch (error) {
    // Class 42: what the table's file says is not SQL.
    if (!(error as {code?: string}).code?.startsWith('42')) throw error
    throw new Error(`the read table ${table.name} can't be made: ${(error as Error).message}`)
  }
}

const make = async (client: PoolClient, table: ReadTable, {logIdentity, adapter}: Of, because?: string) => {
  const {rows} = await client.query<{next: number}>(
    'SELECT coalesce(max(generation), 0) + 1 AS next FROM read.generations WHERE view = $1',
    [table.view],
  )
  const generation = rows[0]!.next
  const target = targetOf({table, generation})
  await makeTable(client, table, target)
  // What can't be made is known at once.
  await client.query('SAVEPOINT tried')
  for (const statement of indexesOf(table, target, false)) await client.query(statement)
  await client.query('ROLLBACK TO tried')
  await client.query(
    `INSERT INTO read.generations (view, generation, state, log_identity, adapter, because)
     VALUES ($1, $2, 'building', $3, $4, $5)`,
    [table.view, generation, logIdentity, adapter, because],
  )
  return generation
}

export const indexesOf = (table: ReadTable, target: string, unique: boolean): string[] =>
  table.indexes.flatMap((index, number) => {
    if (index.startsWith('UNIQUE ') !== unique) return []
    const of = `INDEX IF NOT EXISTS ${target.slice(target.indexOf('.') + 1)}_${number + 1} ON ${target}`
    return unique ? `CREATE UNIQUE ${of} ${index.slice(7)}` : `CREATE ${of} ${index}`
  })

/**
 * What a built generation still lacks. Indexes are made after the rows, which is many times as fast; only unique ones are
 * there from the beginning, so that the event is known which breaks one. May be called again.
 */
export const addIndexes = async (client: Client, generation: Generation): Promise<void> => {
  const target = targetOf(generation)
  const statements = [...indexesOf(generation.table, target, false), `ANALYZE ${target}`]
  await client.query(['SET LOCAL statement_timeout = 0', ...statements].join(';\n'))
}

/**
 * An empty generation in the place of all that there are: the table's first, or of another history. Nothing is live. Where
 * they are not `found` any more, another node was first, and nothing is done.
 */
export const beginAnew = (
  pool: Pool,
  table: ReadTable,
  of: Of & {found?: readonly Generation[]; because?: string},
): Promise<void> =>
  insisting(() =>
    changing(pool, async (client) => {
      const own = await readGenerations(client, [table])
      const same = ({found = []}: typeof of) =>
        own.length === found.length &&
        own.every(({generation, eventId}, n) => generation === found[n]!.generation && eventId === found[n]!.eventId)
      if (!same(of)) return
      await client.query(`DROP VIEW IF EXISTS ${table.view}`)
      for (const one of own) await drop(client, one)
      await show(client, {table, generation: await create(client, table, of, of.because)})
    }),
  )

/** A generation to be built beside the live one: the one that a killed builder left, where it is of this log, else a new one. */
export const beginBeside = async (pool: Pool, table: ReadTable, of: Of): Promise<Generation> => {
  await insisting(() =>
    changing(pool, async (client) => {
      const unfinished = (await readGenerations(client, [table])).filter(
        ({state}) => state === 'building' || state === 'joined',
      )
      for (const one of unfinished.slice(0, -1)) await drop(client, one)
      const last = unfinished.at(-1)
      if (last?.logIdentity === of.logIdentity && last.adapter === of.adapter && last.fault === null) return
      if (last) await drop(client, last)
      await create(client, table, of)
    }),
  )
  return (await readGenerations(pool, [table])).findLast(({state}) => state === 'building' || state === 'joined')!
}

/** The generation has caught up: from now on whoever holds the view's lease feeds it. */
export const join = (pool: Pool, generation: Generation): Promise<void> =>
  insisting(() => changing(pool, (client) => setState(client, generation, 'joined')))

/** The first generation of a view has caught up: it may be read. */
export const goLive = (pool: Pool, generation: Generation): Promise<void> =>
  insisting(() => changing(pool, (client) => setState(client, generation, 'live')))

/**
 * The view shows this generation from one moment to the next, and the one that was live is kept. Both must be at the same
 * position, unless the live one stopped at an event that this one has passed; false where that is not so right now.
 */
export const swapTo = (pool: Pool, table: ReadTable, generation: number): Promise<boolean> =>
  insisting(() =>
    changing(pool, async (client) => {
      const all = await readGenerations(client, [table])
      const dropped = all.filter((one) => one.state === 'kept' && one.generation !== generation)
      // Whoever feeds the view is held off, so that it does not move on while the positions are compared: before its rows
      // first, then before its checkpoint.
      for (const one of dropped) await client.query(`LOCK TABLE ${targetOf(one)} IN ACCESS EXCLUSIVE MODE`)
      await client.query('SELECT FROM read.leases WHERE view = $1 FOR UPDATE', [table.view])
      const now = await readGenerations(client, [table])
      const next = now.find((one) => one.generation === generation)
      const live = now.find(({state}) => state === 'live')
      if (!next || !live) throw new Error(`${table.name} has no generation ${generation} to switch to`)
      const isBehind = live.fault !== null && (next.position ?? -1n) > (live.position ?? -1n)
      if ((next.position !== live.position && !isBehind) || next.fault !== null) return false
      for (const one of dropped) await drop(client, one)
      await setState(client, live, 'kept')
      await setState(client, next, 'live')
      await show(client, next)
      return true
    }),
  )

export const dropGeneration = (pool: Pool, generation: Generation): Promise<void> =>
  insisting(() => changing(pool, (client) => drop(client, generation)))

/** Drops the tables of versions that `known` does not hold and that no node feeds: nothing reaches them any more. */
export const dropUnfed = (pool: Pool, known: readonly ReadTable[]): Promise<void> =>
  insisting(() =>
    changing(pool, async (client) => {
      const {rows} = await client.query<{view: string; generation: number}>(
        `SELECT view, generation FROM read.generations LEFT JOIN read.leases USING (view)
         WHERE view <> ALL($1) AND coalesce(expires_at < clock_timestamp(), true)`,
        [known.map(({view}) => view)],
      )
      for (const {view} of rows) await client.query(`DROP VIEW IF EXISTS ${view}`)
      for (const {view, generation} of rows) await drop(client, {table: {view}, generation})
    }),
  )
