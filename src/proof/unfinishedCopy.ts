import type {Pool} from 'pg'
import type {EventLog} from '../log/eventLog.ts'

/** A log that is being copied or imported into, until that has come to its end: it is no history yet. */
export const UNFINISHED_COPY_DDL = `
CREATE SCHEMA IF NOT EXISTS proof;
CREATE TABLE IF NOT EXISTS proof.unfinished_copies (adapter text PRIMARY KEY, began_at timestamptz NOT NULL DEFAULT now());
`

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

export const refuseUnfinished = async (pool: Pool, adapter: Adapter): Promise<void> => {
  if (await isCopyUnfinished(pool, adapter)) throw new UnfinishedCopy()
}

export const beginCopy = async (pool: Pool, adapter: Adapter): Promise<void> => {
  await pool.query('INSERT INTO proof.unfinished_copies (adapter) VALUES ($1) ON CONFLICT DO NOTHING', [adapter])
}

export const endCopy = async (pool: Pool, adapter: Adapter): Promise<void> => {
  await pool.query('DELETE FROM proof.unfinished_copies WHERE adapter = $1', [adapter])
}
