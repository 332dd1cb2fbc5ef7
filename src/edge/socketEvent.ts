import type {z} from 'zod'
import {type Code, invalid, inWords} from './errors.ts'

export type Argument<S extends z.ZodType = z.ZodType> = {name: string; shape: S}

/**
 * A Socket.IO event as it is documented. `args`: what is emitted, without the callback. `answer`: what the callback gets
 * where all went well; an event without one has no callback.
 */
export type DocumentedEvent = {
  name: string
  from: 'client' | 'server'
  summary: string
  description?: string
  args: readonly Argument[]
  answer?: z.ZodType
  errors?: readonly Code[]
}

/** What was emitted as this argument. Throws INVALID. */
export const readArgument = <S extends z.ZodType>({name, shape}: Argument<S>, value: unknown): z.output<S> => {
  const read = shape.safeParse(value, inWords)
  if (!read.success) throw invalid(read.error, name)
  return read.data
}
