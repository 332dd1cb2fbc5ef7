import {Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {endSilent} from '../../src/database/endSilent.ts'
import {createDatabase} from '../support/database.ts'

describe('endSilent', () => {
  let pool: Pool

  beforeAll(async () => {
    pool = new Pool({connectionString: await createDatabase(), max: 1})
    pool.on('connect', (client) => endSilent(client, 300))
  })
  afterAll(() => pool.end())

  it('rejects what the database does not answer in time, and the next query has a new connection', async () => {
    await expect(pool.query('SELECT pg_sleep(20)')).rejects.toThrow('Connection terminated')
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{one: 1}])
  })

  it('gives a query the time that it asks for', async () => {
    const patient = {text: 'SELECT pg_sleep(0.6)', query_timeout: 5_000}
    expect((await pool.query(patient)).rows).toHaveLength(1)
    const impatient = {text: 'SELECT pg_sleep(20)', query_timeout: 50}
    await expect(pool.query(impatient)).rejects.toThrow()
  })

  it('counts for each query of a connection that is held, and only while it is unanswered', async () => {
    const client = await pool.connect()
    for (let n = 0; n < 4; n++) await client.query('SELECT pg_sleep(0.1)')
    await expect(client.query('SELECT pg_sleep(20)')).rejects.toThrow('Connection terminated')
    client.release(true)
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{one: 1}])
  })
})
