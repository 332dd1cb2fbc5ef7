import {z} from 'zod'
import {storable} from '../domain/text.ts'

/** A whole number in a query. */
export const count = (min: number, max: number) =>
  z
    .string()
    .regex(/^-?\d{1,10}$/, 'must be a whole number')
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be from ${min} to ${max}`)
    .meta({json: {type: 'integer', minimum: min, maximum: max}})

/** A position in decimals: where a page goes on. It means something to the server only. */
export const cursor = z
  .string()
  .regex(/^\d{1,19}$/, 'must be the cursor of a Link header')
  .transform((value) => BigInt(value))
  .refine((value) => value <= 9_223_372_036_854_775_807n, 'must be the cursor of a Link header')
  .describe('Where the page goes on: from the `Link` header of the page before. It means something to the server only.')

/** An id in a path. What can't be one is not found. */
export const pathId = storable.max(100)
