import type {z} from 'zod'
import type {Code} from './errors.ts'

/**
 * A Socket.IO event as it is documented. `args`: what is emitted, without the callback. `answer`: what the callback gets
 * where all went well; an event without one has no callback.
 */
export type DocumentedEvent = {
  name: string
  from: 'client' | 'server'
  summary: string
  description?: string
  args: readonly {name: string; shape: z.ZodType}[]
  answer?: z.ZodType
  errors?: readonly Code[]
}
