import {z} from 'zod'
import {type EventOf, eventType} from './event.ts'

/** A read table was built anew from the log and is live. `differing`: rows of the one before that were not as the log says. */
export const ProjectionRebuilt = eventType('ProjectionRebuilt', {
  data: z.object({
    projection: z.string(),
    version: z.int(),
    generation: z.int(),
    rows: z.int().nonnegative(),
    differing: z.int().nonnegative(),
  }),
  plain: ['projection'],
})

/** The read table that was live before is live again. */
export const ProjectionRolledBack = eventType('ProjectionRolledBack', {
  data: z.object({projection: z.string(), version: z.int(), generation: z.int()}),
  plain: ['projection'],
})

/** An operator wants this person erased; what came of it is in the person's own stream. */
export const ErasureOrdered = eventType('ErasureOrdered', {
  data: z.object({userId: z.string()}),
  plain: ['userId'],
})

/** The keys are wrapped with another MASTER_KEY. */
export const MasterKeyRotated = eventType('MasterKeyRotated', {data: z.object({}), plain: []})

export type OperationsEvent =
  | EventOf<typeof ProjectionRebuilt>
  | EventOf<typeof ProjectionRolledBack>
  | EventOf<typeof ErasureOrdered>
  | EventOf<typeof MasterKeyRotated>
