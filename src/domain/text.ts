import {z} from 'zod'

const VISIBLE = /[^\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cc}]/u

const codePoints = (value: string): number => {
  let count = 0
  for (const _ of value) count++
  return count
}

/** Text that survives JSON and PostgreSQL: no NUL, no lone surrogate (RFC 8259, section 8.2). */
export const storable = z
  .string()
  .refine((value) => !value.includes('\0') && value.isWellFormed(), 'must not contain NUL or half a surrogate pair')

/** Text with a limit in code points. Nothing is trimmed; where it must not be blank, something in it must be visible. */
export const text = ({max, blank = false}: {max: number; blank?: boolean}) =>
  storable
    .refine((value) => value.length <= max * 2 && codePoints(value) <= max, `must have at most ${max} characters`)
    .refine((value) => blank || VISIBLE.test(value), 'must not be blank')
    // For the documentation: JSON Schema counts code points too.
    .meta({maxLength: max, ...(blank ? {} : {minLength: 1})})
