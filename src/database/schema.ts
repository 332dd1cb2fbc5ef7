import type {Pool} from 'pg'

/** Makes what is missing, one process at a time. Each statement must be one that may run again. */
export const makeSchema = async (pool: Pool, statements: readonly string[]): Promise<void> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query(`SELECT pg_advisory_xact_lock(hashtext('community schema'))`)
    // What is there already is no news to anybody.
    await client.query('SET LOCAL client_min_messages = warning')
    await client.query(statements.join('\n'))
    await client.query('COMMIT')
    client.release()
  } catch (error) {
    client.release(true)
    throw error
  }
}
