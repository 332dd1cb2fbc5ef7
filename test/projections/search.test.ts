import fc from 'fast-check'
import {Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import type {PostId} from '../../src/domain/post.ts'
import type {LoggedEvent} from '../../src/log/codec.ts'
import {foldRows} from '../../src/projections/readTable.ts'
import {search} from '../../src/projections/search.ts'
import {createDatabase} from '../support/database.ts'
import {postCreated} from '../support/events.ts'
import {person} from '../support/specification.ts'

let pool: Pool
beforeAll(async () => {
  pool = new Pool({connectionString: await createDatabase(), max: 1})
  await pool.query(
    'CREATE TABLE found (position bigint PRIMARY KEY, room_id text, seq int, author_id text, words tsvector)',
  )
})
afterAll(() => pool.end())

const ann = person('Ann')

/** What is stored of posts, each with its title and its body. */
const wordsOf = async (posts: [title: string, body: string][]): Promise<string[]> => {
  const rows = foldRows(search)
  for (const [position, [title, body]] of posts.entries()) {
    const event = {...postCreated('p' as PostId, ann, {title, body, attachments: []}), position: BigInt(position)}
    search.handlers.PostCreated!(event as unknown as LoggedEvent, rows)
  }
  for (const {text, values} of rows.statements('found')) await pool.query(text, values)
  const stored = await pool.query<{words: string}>('SELECT words::text FROM found ORDER BY position')
  await pool.query('TRUNCATE found')
  return stored.rows.map(({words}) => words)
}

describe('search', () => {
  it('keeps the same words of ASCII whichever way it goes', async () => {
    const ascii = fc.string({unit: fc.constantFrom(...'abYZ019_ \t\n\'"\\:{},.-&|!*()'), maxLength: 60})
    const long = fc
      .tuple(fc.constantFrom('Ab ', 'x', 'y:1A '), fc.integer({min: 90, max: 300}))
      .map(([one, n]) => one.repeat(n))
    const text = fc.oneof({weight: 4, arbitrary: ascii}, long)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(text, text), {minLength: 1, maxLength: 20}), async (posts) => {
        const plain = await wordsOf(posts)
        // A letter that is not ASCII, at the end, where it moves no other word.
        const any = await wordsOf(posts.map(([title, body]) => [title, `${body} é`]))
        const others = (words: string) => words.split(' ').filter((word) => word !== '' && !word.startsWith("'e':"))
        expect(any.map(others)).toEqual(plain.map(others))
      }),
      {numRuns: 50},
    )
  })
})
