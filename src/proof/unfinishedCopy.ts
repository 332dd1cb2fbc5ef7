import type {Pool, PoolClient} from 'pg'
import type {EventLog} from '../log/eventLog.ts'

/** A log that is being copied, imported or restored into, until that has come to its end: it is no history yet. */
export const UNFINISHED_COPY_DDL = `
CREATE SCHEMA IF NOT EXISTS proof;
CREATE TABLE IF NOT EXISTS proof.unfinished_copies (adapter text PRIMARY KEY, began_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS proof.unfinished_restores (backup text PRIMARY KEY, began_at timestamptz NOT NULL DEFAULT now());
`

/** They say what is under way here, and are in no backup. */
export const UNFINISHED_TABLES = ['unfinished_copies', 'unfinished_restores']

type Adapter = EventLog['adapter']

export class UnfinishedCopy extends Error {
  override name = 'UnfinishedCopy'
  constructor() {
    super(
      'A copy or import into this log did not come to its end: run it again with the same source, it goes on from there',
    )
  }
}

export const isCopyUnfinished = async (pool: Pool, adapter: Adapter): Promise<boolean> => {
  const {rows} = await pool.query('SELECT FROM proof.unfinished_copies WHERE adapter = $1', [adapter])
  return rows.length > 0
}

export class UnfinishedRestore extends Error {
  override name = 'UnfinishedRestore'
  constructor() {
    super(
      'A restore into this database did not come to its end: run it again with the same backup, it goes on from there',
    )
  }
}

/** The backup of which only a part may be here. */
export const unfinishedRestore = async (pool: Pool): Promise<string | null> => {
  const {rows} = await pool.query<{backup: string}>('SELECT backup FROM proof.unfinished_restores')
  return rows[0]?.backup ?? null
}

export const refuseUnfinished = async (pool: Pool, adapter: Adapter): Promise<void> => {
  if (await isCopyUnfinished(pool, adapter)) throw new UnfinishedCopy()
  if (await unfinishedRestore(pool)) throw new UnfinishedRestore()
}

export const beginCopy = async (pool: Pool, adapter: Adapter): Promise<void> => {
  if (await unfinishedRestore(pool)) throw new UnfinishedRestore()
  await pool.query('INSERT INTO proof.unfinished_copies (adapter) VALUES ($1) ON CONFLICT DO NOTHING', [adapter])
}

export const endCopy = async (pool: Pool, adapter: Adapter): Promise<void> => {
  await pool.query('DELETE FROM proof.unfinished_copies WHERE adapter = $1', [adapter])
}

export const beginRestore = async (client: PoolClient, backup: string): Promise<void> => {
  await client.query('INSERT INTO proof.unfinished_restores (backup) VALUES ($1) ON CONFLICT DO NOTHING', [backup])
}

export const endRestore = async (client: PoolClient): Promise<void> => {
  await client.query('DELETE FROM proof.unfinished_restores')
}
