import {randomBytes} from 'node:crypto'
import type {Pool} from 'pg'
import {seal, unseal} from './seal.ts'

/**
 * One key a person, wrapped; or a tombstone, where the key was destroyed: it is never made again. `erased_at`: when all
 * that follows from that was done.
 */
export const PERSON_KEYS_DDL = `
CREATE SCHEMA IF NOT EXISTS keys;
CREATE TABLE IF NOT EXISTS keys.people (
  person text PRIMARY KEY,
  wrapped bytea,
  erased_at timestamptz,
  -- When the database's files were cleared of what the person had written.
  scrubbed_at timestamptz,
  CHECK (wrapped IS NULL OR erased_at IS NULL)
);
-- What only a superuser may do to clear them. mark: what is another as soon as it was done.
CREATE TABLE IF NOT EXISTS keys.left_statements (number int PRIMARY KEY, statement text NOT NULL, mark text NOT NULL);
`

/** Keys that are kept unwrapped in memory: 32 bytes each. The least recently used goes first. */
const CACHED = 20_000

export type PersonKeys = {
  /** The keys to write with, made where there are none: durably, before any event can need them. Null: erased. */
  provide(people: readonly string[]): Promise<ReadonlyMap<string, Buffer | null>>
  /** The keys to read with. Null: erased, or never there. */
  find(people: readonly string[]): Promise<ReadonlyMap<string, Buffer | null>>
  /** Destroys the key and leaves a tombstone. Doing it again changes nothing. */
  destroy(person: string): Promise<void>
  /** All that follows from the destroyed key is done. */
  markErased(person: string): Promise<void>
  /** Another node destroyed the key: do not read with the remembered one any more. */
  forget(person: string): void
}

/** `wrappingKey`: 32 bytes. */
export const openPersonKeys = ({pool, wrappingKey}: {pool: Pool; wrappingKey: Buffer}): PersonKeys => {
  const cache = new Map<string, Buffer>()
  // What was forgotten while a read was under way must not come back by it.
  let forgotten = 0

  const remembered = (person: string): Buffer | undefined => {
    const key = cache.get(person)
    if (key) {
      cache.delete(person)
      cache.set(person, key)
    }
    return key
  }

  const read = async (people: readonly string[]): Promise<Map<string, Buffer | null>> => {
    const before = forgotten
    const {rows} = await pool.query<{person: string; wrapped: Buffer | null}>({
      name: 'read person keys',
      text: 'SELECT person, wrapped FROM keys.people WHERE person = ANY($1)',
      values: [people],
    })
    const found = new Map<string, Buffer | null>()
    for (const {person, wrapped} of rows) {
      const key = wrapped && unseal(wrappingKey, wrapped, `person ${person}`)
      if (wrapped && !key) throw new Error(`the key of ${person} can't be opened: keys.people is damaged`)
      found.set(person, key)
      if (key && before === forgotten) cache.set(person, key)
    }
    for (const person of cache.keys()) {
      if (cache.size <= CACHED) break
      cache.delete(person)
    }
    return found
  }

  const find = async (people: readonly string[]): Promise<Map<string, Buffer | null>> => {
    const found = new Map<string, Buffer | null>()
    const missing = new Set<string>()
    for (const person of people) {
      const key = remembered(person)
      if (key) found.set(person, key)
      else missing.add(person)
    }
    if (missing.size > 0) {
      const stored = await read([...missing])
      for (const person of missing) found.set(person, stored.get(person) ?? null)
    }
    return found
  }

  return {
    find,
    provide: async (people) => {
      const missing = [...new Set(people)].filter((person) => !remembered(person))
      if (missing.length > 0) {
        const wrapped = missing.map((person) => seal(wrappingKey, randomBytes(32), `person ${person}`))
        await pool.query(
          'INSERT INTO keys.people (person, wrapped) SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING',
          [missing, wrapped],
        )
      }
      return find(people)
    },
    destroy: async (person) => {
      await pool.query(
        `INSERT INTO keys.people (person, wrapped) VALUES ($1, NULL)
         ON CONFLICT (person) DO UPDATE SET wrapped = NULL WHERE keys.people.wrapped IS NOT NULL`,
        [person],
      )
      cache.delete(person)
      forgotten++
    },
    markErased: async (person) => {
      await pool.query(
        'UPDATE keys.people SET erased_at = now() WHERE person = $1 AND wrapped IS NULL AND erased_at IS NULL',
        [person],
      )
    },
    forget: (person) => {
      cache.delete(person)
      forgotten++
    },
  }
}
