import {Client} from 'pg'
import {eventually} from '../support/eventually.ts'

/** Who feeds the read tables. `taken` waits until somebody else does than did before, and says how long that took. */
export const watchLeader = async (databaseUrl: string) => {
  const database = new Client({connectionString: databaseUrl})
  await database.connect()
  const holders = async (): Promise<string[]> =>
    (
      await database.query('SELECT DISTINCT holder::text FROM read.leases WHERE expires_at > clock_timestamp()')
    ).rows.map(({holder}) => holder)
  return {
    holders,
    taken: async (from: readonly string[], ms = 30_000): Promise<number> => {
      const began = performance.now()
      await eventually(
        async () => {
          const now = await holders()
          return now.length > 0 && now.every((holder) => !from.includes(holder))
        },
        {what: 'another node to feed the read tables', ms},
      )
      return performance.now() - began
    },
    close: () => database.end(),
  }
}
