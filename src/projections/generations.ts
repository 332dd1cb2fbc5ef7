import type {Pool, PoolClient} from 'pg'
import type {ReadTable} from './readTable.ts'

/**
 * A generation is one table behind a view. `position` and `event_id` are its checkpoint: the newest event that its rows
 * hold, in the log with this identity behind this adapter. `building`: not caught up yet, not to be read. `fault` is the
 * event it stopped at and why. The lease says which node feeds the tables; a write must bear its term.
 */
export const GENERATIONS_DDL = `
CREATE SCHEMA IF NOT EXISTS read;
CREATE TABLE IF NOT EXISTS read.generations (
  view text NOT NULL,
  generation int NOT NULL,
  state text NOT NULL CHECK (state IN ('building', 'live')),
  log_identity uuid NOT NULL,
  adapter text NOT NULL,
  position bigint,
  event_id uuid,
  fault text,
  PRIMARY KEY (view, generation)
);
CREATE TABLE IF NOT EXISTS read.lease (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  holder uuid NOT NULL,
  term bigint NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE OR REPLACE FUNCTION read.advance(
  lease_term bigint, views text[], generations int[], expected bigint[], new_position bigint, new_event uuid
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE advanced int;
BEGIN
  -- The row lock keeps a successor from taking the lease between this check and the commit.
  PERFORM FROM read.lease l WHERE l.term = lease_term FOR SHARE;
  IF NOT FOUND THEN RAISE EXCEPTION 'the lease of term % is over', lease_term USING ERRCODE = 'FE001'; END IF;
  UPDATE read.generations g SET position = new_position, event_id = new_event, fault = NULL
  FROM unnest(views, generations, expected) AS n(view, generation, position)
  WHERE g.view = n.view AND g.generation = n.generation AND g.position IS NOT DISTINCT FROM n.position;
  GET DIAGNOSTICS advanced = ROW_COUNT;
  IF advanced <> cardinality(views) THEN
    RAISE EXCEPTION 'a checkpoint was moved by another runner' USING ERRCODE = 'FE001';
  END IF;
  PERFORM pg_notify('read', json_build_object('p', new_position::text, 'v', views)::text);
END $$;
`

/** SQLSTATE of a write that the fence stopped. */
export const FENCED = 'FE001'

export type Generation = {
  table: ReadTable
  generation: number
  state: 'building' | 'live'
  logIdentity: string
  adapter: string
  position: bigint | null
  eventId: string | null
  fault: string | null
}

export const targetOf = ({table, generation}: {table: ReadTable; generation: number}): string =>
  `${table.view}_g${generation}`

const SELECT = 'SELECT view, generation, state, log_identity, adapter, position, event_id, fault FROM read.generations'

/** The newest generation of each table: what its view shows. Tables without one are left out. */
export const readGenerations = async (pool: Pool | PoolClient, tables: readonly ReadTable[]): Promise<Generation[]> => {
  const {rows} = await pool.query(`${SELECT} WHERE view = ANY($1) ORDER BY view, generation`, [
    tables.map(({view}) => view),
  ])
  return tables.flatMap((table) => {
    const row = rows.findLast(({view}) => view === table.view)
    if (!row) return []
    const position = row.position === null ? null : BigInt(row.position)
    const {generation, state, adapter, fault} = row
    return [{table, generation, state, adapter, fault, position, logIdentity: row.log_identity, eventId: row.event_id}]
  })
}

/** Makes an empty table in the place of whatever the view shows now; the old one is dropped. One transaction. */
export const beginGeneration = async (
  pool: Pool,
  table: ReadTable,
  of: {logIdentity: string; adapter: string},
): Promise<void> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query(`SELECT pg_advisory_xact_lock(hashtext('community read tables'))`)
    const {rows} = await client.query<{generation: number}>(
      'SELECT generation FROM read.generations WHERE view = $1 ORDER BY generation',
      [table.view],
    )
    const generation = (rows.at(-1)?.generation ?? 0) + 1
    const target = targetOf({table, generation})
    const columns = Object.entries(table.columns).map(([name, type]) => `${name} ${type}`)
    await client.query(`DROP VIEW IF EXISTS ${table.view}`)
    for (const old of rows) {
      await client.query(`DROP TABLE IF EXISTS ${targetOf({table, generation: old.generation})}`)
    }
    await client.query('DELETE FROM read.generations WHERE view = $1', [table.view])
    await client.query(`CREATE TABLE ${target} (${columns.join(', ')}, PRIMARY KEY (${table.key.join(', ')}))`)
    for (const index of table.indexes) {
      const unique = index.startsWith('UNIQUE ')
      await client.query(`CREATE ${unique ? 'UNIQUE ' : ''}INDEX ON ${target} ${unique ? index.slice(7) : index}`)
    }
    await client.query(`CREATE VIEW ${table.view} AS SELECT ${Object.keys(table.columns).join(', ')} FROM ${target}`)
    await client.query(
      `INSERT INTO read.generations (view, generation, state, log_identity, adapter) VALUES ($1, $2, 'building', $3, $4)`,
      [table.view, generation, of.logIdentity, of.adapter],
    )
    await client.query(`SELECT pg_notify('read', '{}')`)
    await client.query('COMMIT')
    client.release()
  } catch (error) {
    client.release(true)
    throw error
  }
}
