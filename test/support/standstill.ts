import {Client} from 'pg'

/**
 * Stops every node from feeding the read tables of this database, as if another node held the lease and did nothing;
 * the log goes on. The answer lets them go on.
 */
export const stopFeeding = async (databaseUrl: string): Promise<() => Promise<void>> => {
  const set = async (change: string) => {
    const client = new Client({connectionString: databaseUrl})
    await client.connect()
    await client.query(`UPDATE read.leases SET ${change}`)
    await client.end()
  }
  await set(`holder = gen_random_uuid(), term = term + 1, expires_at = clock_timestamp() + interval '1 hour'`)
  return () => set('expires_at = clock_timestamp()')
}
