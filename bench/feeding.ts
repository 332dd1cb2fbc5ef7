import type {Client} from 'pg'
import type {Feeding} from '../src/projections/feeding.ts'

/** Feeds generations that no lease is for, by this connection. What a table can't take ends the measurement. */
export const feedingBy = (client: Client): Feeding => ({
  client,
  termOf: () => null,
  advanced: () => {},
  failed: async (_, why) => {
    throw new Error(why)
  },
})
