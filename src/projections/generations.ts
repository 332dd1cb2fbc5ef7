import type {Pool, PoolClient} from 'pg'
import type {ReadTable} from './readTable.ts'

/**
 * A generation is one table that a view can show. `position` and `event_id` are its checkpoint: the newest event that its
 * rows hold, in the log with this identity behind this adapter. `building`: filled from the log's beginning; `joined`: has
 * caught up and is fed beside the live one; `live`: what the view shows; `kept`: was live before, and is fed on. `fault` is
 * the event it stopped at and why. A lease says which node feeds a view's generations; a write must bear its term.
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
CREATE UNIQUE INDEX IF NOT EXISTS generations_live ON read.generations (view) WHERE state = 'live';
CREATE TABLE IF NOT EXISTS read.leases (
  view text PRIMARY KEY,
  holder uuid NOT NULL,
  term bigint NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE OR REPLACE FUNCTION read.advance(
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
  PERFORM pg_notify('read', json_build_object('p', new_position::text, 'v', (
    SELECT coalesce(array_agg(g.view), '{}') FROM read.generations g JOIN unnest(views, generations) AS n(view, generation)
      ON g.view = n.view AND g.generation = n.generation WHERE g.state = 'live'
  ))::text);
END $$;
`

/** SQLSTATE of a write that the fence stopped. */
export const FENCED = 'FE001'

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
}

export const targetOf = ({table, generation}: Target): string => `${table.view}_g${generation}`

const SELECT = 'SELECT view, generation, state, log_identity, adapter, position, event_id, fault FROM read.generations'

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
  }))
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
  await client.query('DELETE FROM read.generations WHERE view = $1 AND generation = $2', [table.view, generation])
  await client.query(`DROP TABLE IF EXISTS ${targetOf({table, generation})}`)
}

const show = async (client: PoolClient, of: Pick<Generation, 'table' | 'generation'>) => {
  const columns = Object.keys(of.table.columns).join(', ')
  await client.query(`CREATE OR REPLACE VIEW ${of.table.view} AS SELECT ${columns} FROM ${targetOf(of)}`)
}

const setState = (
  client: PoolClient,
  {table, generation}: Pick<Generation, 'table' | 'generation'>,
  state: GenerationState,
) =>
  client.query('UPDATE read.generations SET state = $3 WHERE view = $1 AND generation = $2', [
    table.view,
    generation,
    state,
  ])

type Of = {logIdentity: string; adapter: string}

const create = async (client: PoolClient, table: ReadTable, {logIdentity, adapter}: Of): Promise<number> => {
  const {rows} = await client.query<{next: number}>(
    'SELECT coalesce(max(generation), 0) + 1 AS next FROM read.generations WHERE view = $1',
    [table.view],
  )
  const generation = rows[0]!.next
  const target = targetOf({table, generation})
  const columns = Object.entries(table.columns).map(([name, type]) => `${name} ${type}`)
  await client.query(`CREATE TABLE ${target} (${columns.join(', ')}, PRIMARY KEY (${table.key.join(', ')}))`)
  for (const index of table.indexes) {
    const unique = index.startsWith('UNIQUE ')
    await client.query(`CREATE ${unique ? 'UNIQUE ' : ''}INDEX ON ${target} ${unique ? index.slice(7) : index}`)
  }
  await client.query(
    `INSERT INTO read.generations (view, generation, state, log_identity, adapter) VALUES ($1, $2, 'building', $3, $4)`,
    [table.view, generation, logIdentity, adapter],
  )
  return generation
}

/** An empty generation in the place of all that there are: the table's first, or of another history. Nothing is live. */
export const beginAnew = (pool: Pool, table: ReadTable, of: Of): Promise<void> =>
  insisting(() =>
    changing(pool, async (client) => {
      await client.query(`DROP VIEW IF EXISTS ${table.view}`)
      for (const one of await readGenerations(client, [table])) await drop(client, one)
      await show(client, {table, generation: await create(client, table, of)})
    }),
  )

/** A generation to be built beside the live one: the one that a killed builder left, where it is of this log, else a new one. */
export const beginBeside = async (pool: Pool, table: ReadTable, of: Of): Promise<Generation> => {
  await changing(pool, async (client) => {
    const unfinished = (await readGenerations(client, [table])).filter(
      ({state}) => state === 'building' || state === 'joined',
    )
    for (const one of unfinished.slice(0, -1)) await drop(client, one)
    const last = unfinished.at(-1)
    if (last?.logIdentity === of.logIdentity && last.adapter === of.adapter && last.fault === null) return
    if (last) await drop(client, last)
    await create(client, table, of)
  })
  return (await readGenerations(pool, [table])).findLast(({state}) => state === 'building' || state === 'joined')!
}

/** The generation has caught up: from now on whoever holds the view's lease feeds it. */
export const join = (pool: Pool, generation: Generation): Promise<void> =>
  changing(pool, async (client) => {
    await setState(client, generation, 'joined')
  })

/** The first generation of a view has caught up: it may be read. */
export const goLive = (pool: Pool, generation: Generation): Promise<void> =>
  changing(pool, async (client) => {
    await setState(client, generation, 'live')
  })

/**
 * The view shows this generation from one moment to the next, and the one that was live is kept. Both must be at the same
 * position; false where they are not right now.
 */
export const swapTo = (pool: Pool, table: ReadTable, generation: number): Promise<boolean> =>
  insisting(() =>
    changing(pool, async (client) => {
      // Holds off whoever feeds the view, so that neither moves on while the positions are compared.
      await client.query('SELECT FROM read.leases WHERE view = $1 FOR UPDATE', [table.view])
      const all = await readGenerations(client, [table])
      const next = all.find((one) => one.generation === generation)
      const live = all.find(({state}) => state === 'live')
      if (!next || !live) throw new Error(`${table.name} has no generation ${generation} to switch to`)
      if (next.position !== live.position || next.fault !== null) return false
      for (const one of all) if (one.state === 'kept' && one !== next) await drop(client, one)
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
