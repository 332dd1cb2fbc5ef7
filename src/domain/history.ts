import {z} from 'zod'
import {type EventOf, eventType} from './event.ts'

/**
 * The log's first event: which history this is. `keyCheck` is derived from the key store, so that a log whose keys are
 * not in this database is noticed at the start.
 */
export const HistoryBegan = eventType('HistoryBegan', {
  data: z.object({identity: z.uuid(), keyCheck: z.string()}),
  plain: ['identity', 'keyCheck'],
})

export type HistoryEvent = EventOf<typeof HistoryBegan>
