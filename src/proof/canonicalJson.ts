import type {Json} from '../log/eventLog.ts'

/** How many keys are remembered as they are written: events have few, and have them again and again. */
const KEYS = 1_000

const writtenKeys = new Map<string, string>()

const writeKey = (key: string): string => {
  const known = writtenKeys.get(key)
  if (known !== undefined) return known
  const written = `${canonicalJson(key)}:`
  if (writtenKeys.size < KEYS) writtenKeys.set(key, written)
  return written
}

/**
 * JSON in the one form that RFC 8785 gives it: no spaces, keys in the order of their UTF-16 code units, numbers and strings
 * as ECMAScript writes them. Whatever a store did to spaces, key order or the spelling of numbers, equal values are equal
 * text. Throws for what has no such form: half a surrogate pair, a number that is not finite.
 */
export const canonicalJson = (value: Json): string => {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new TypeError('half a surrogate pair has no canonical form')
    return JSON.stringify(value)
  }
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError(`${value} has no canonical form`)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  let members = ''
  for (const key of Object.keys(value).sort()) {
    if (members !== '') members += ','
    members += writeKey(key) + canonicalJson(value[key]!)
  }
  return `{${members}}`
}
