import type {Pool} from 'pg'
import {MAX_LENGTH, wordsOf} from '../domain/words.ts'
import {type Message, messages} from './messages.ts'
import {type PostRow, posts} from './posts.ts'
import {readTable} from './readTable.ts'
import {roomMembers} from './roomMembers.ts'
import {rooms} from './rooms.ts'

/** PostgreSQL takes 1 MiB a tsvector. Only a post made to be long when it is normalised has more; its end is not found. */
const MAX_BYTES = 1_000_000
/** PostgreSQL keeps as many places of a word. */
const MAX_PLACES = 255

/**
 * As PostgreSQL writes a tsvector. The words are ours, not those of its parsers, which want spaces between words and know
 * letters by the database's locale: so the rows are the same on every database. Words of a title are `A`.
 */
const vectorOf = (...texts: Text[]): string => plainVectorOf(texts) ?? anyVectorOf(texts)

type Text = {text: string; weight: 'A' | 'D'}

/**
 * Of ASCII with no more words than PostgreSQL keeps places of one, which is what most texts are: letter by letter that is a
 * quarter of the work. Null for any other text. A place without a weight is `D`.
 */
const plainVectorOf = (texts: Text[]): string | null => {
  let end = 0
  let place = 0
  let words = 0
  for (const {text, weight} of texts) {
    place++
    let length = 0
    for (let at = 0; at <= text.length; at++) {
      const code = at < text.length ? text.charCodeAt(at) : SPACE
      if (code >= LETTERS.length) return null
      const letter = LETTERS[code]!
      if (letter !== 0) {
        if (length === 0 && ++words > MAX_PLACES) return null
        if (length++ < MAX_LENGTH) written[end++] = letter
      } else if (length > 0) {
        length = 0
        const mark = `:${++place}${weight === 'A' ? 'A ' : ' '}`
        for (let n = 0; n < mark.length; n++) written[end++] = mark.charCodeAt(n)
      }
    }
  }
  return written.toString('latin1', 0, end)
}

const SPACE = 32
/** Of each ASCII character the code of its lower case, or 0 where it is no letter of a word. */
const LETTERS = Uint8Array.from({length: 128}, (_, code) => {
  const letter = String.fromCharCode(code).toLowerCase()
  return /[a-z0-9_]/.test(letter) ? letter.charCodeAt(0) : 0
})
const written = Buffer.alloc(MAX_PLACES * (MAX_LENGTH + ':999A '.length))

const anyVectorOf = (texts: Text[]): string => {
  const said: string[] = []
  const places: string[] = []
  let place = 0
  for (const {text, weight} of texts) {
    // A phrase does not go from one text on into the next.
    place++
    for (const {text: word, last} of wordsOf(text)) {
      place++
      said.push(word)
      places.push(`${place}${weight}`)
      if (last === undefined) continue
      said.push(last)
      places.push(`${place}${weight}`)
    }
  }
  // PostgreSQL itself gathers the places of a word: to leave it to that is twice as fast.
  if (said.length <= MAX_PLACES) return said.map((word, n) => `'${word}':${places[n]}`).join(' ')
  const gathered = new Map<string, string[]>()
  let left = MAX_BYTES
  for (const [n, word] of said.entries()) {
    const own = gathered.get(word)
    left -= own ? 2 : word.length * 3 + 5
    if (left < 0 || own?.length === MAX_PLACES) continue
    if (own) own.push(places[n]!)
    else gathered.set(word, [places[n]!])
  }
  return [...gathered].map(([word, own]) => `'${word}':${own.join()}`).join(' ')
}

/** What can be found: posts, whose `room_id` is empty, and messages. Who asks shows what is found from their own tables. */
export const search = readTable({
  name: 'search',
  version: 1,
  columns: {position: 'bigint', room_id: 'text', seq: 'int', author_id: 'text', words: 'tsvector'},
  key: ['position'],
  apart: true,
  // What is new waits in a list of 256 kB before it is put into the index together: a third of the work. A longer list would
  // make searches slow, and now and then a write.
  indexes: ['USING gin (words) WITH (gin_pending_list_limit = 256)', '(room_id, position)'],
  erased: [{where: 'author_id', set: null}],
  handlers: {
    PostCreated: ({data: {authorId, title, body}, position}, rows) =>
      rows.put({
        position,
        room_id: '',
        seq: null,
        author_id: authorId,
        words: vectorOf({text: title, weight: 'A'}, {text: body, weight: 'D'}),
      }),
    MessageSent: ({data: {roomId, seq, senderId, content}, position}, rows) =>
      rows.put({position, room_id: roomId, seq, author_id: senderId, words: vectorOf({text: content, weight: 'D'})}),
  },
})

const quoted = (word: string): string => `'${word}'`

/** What somebody looks for by one term: its words as neighbours. `open`: it is still being typed, so it may go on. */
const phraseOf = (term: string, open: boolean): string | null => {
  const words = wordsOf(term)
  if (words.length === 0) return null
  const all = words.map(({text, last}, index) => {
    // One character of a script without spaces is the first of two neighbours, or the last of all.
    const isPart = last === text || (open && index === words.length - 1 && last === undefined && text.length > 1)
    return isPart ? `${quoted(text)}:*` : quoted(text)
  })
  return `(${all.join(' <-> ')})`
}

/**
 * As PostgreSQL writes a tsquery, or null where there is nothing to look for. All the words; a "phrase"; `or` between two; not what
 * a `-` stands before; the last word may be the beginning of one.
 */
export const queryOf = (q: string): string | null => {
  const terms = [...q.replace(/[“”„＂]/g, '"').matchAll(/([-－]?)(?:"([^"]*)"?|([^\s"]+))/g)]
  const alternatives: {wanted: string[]; unwanted: string[]}[] = [{wanted: [], unwanted: []}]
  for (const [index, [whole, not, phrase, word]] of terms.entries()) {
    if (/^or$/i.test(whole) && index > 0 && index < terms.length - 1) {
      alternatives.push({wanted: [], unwanted: []})
      continue
    }
    const isTyped = index === terms.length - 1 && not === '' && q.endsWith(whole)
    const found = phraseOf(phrase ?? word ?? '', isTyped && phrase === undefined)
    if (found) alternatives.at(-1)![not === '' ? 'wanted' : 'unwanted'].push(found)
  }
  const all = alternatives
    // What is only not to be found would be nearly all there is.
    .filter(({wanted}) => wanted.length > 0)
    .map(({wanted, unwanted}) => `(${[...wanted, ...unwanted.map((one) => `!${one}`)].join(' & ')})`)
  return all.length === 0 ? null : all.join(' | ')
}

/** Who asks: nobody in particular finds posts, a person also what is said in their rooms, a bot everything. */
export type Reader = {userId: string; isBot: boolean} | null

/**
 * Where a page goes on: after this rank and position, among what there was up to `upTo`. A rank is a function of the row
 * and the query alone, so pages neither skip nor repeat while others write.
 */
export type SearchCursor = {rank: number; position: bigint; upTo: bigint}

/** So many of the newest rows that match are ranked: a word that everybody uses costs no more. */
const RANKED = 10_000
const NEWEST = 9_223_372_036_854_775_807n

/** At most `limit` rows, and no more once there are so many bytes of posts. With parameters: PostgreSQL plans it for these words, and takes the index or the newest rows by how common they are. */
export const searchStatement = (
  query: string,
  reader: Reader,
  {after, limit, bytes}: {after: SearchCursor | null; limit: number; bytes: number},
): {text: string; values: unknown[]} => {
  const {rank = Number.MAX_VALUE, position = NEWEST, upTo = NEWEST} = after ?? {}
  const values: unknown[] = [query, `${upTo}`, rank, `${position}`, limit, bytes]
  let where = `room_id = ''`
  if (reader?.isBot) where = 'true'
  else if (reader) {
    values.push(reader.userId)
    where = `room_id = ANY(ARRAY(SELECT room_id FROM ${roomMembers.view} WHERE user_id = $7) || ''::text)`
  }
  return {
    values,
    text: `
      WITH newest AS (
        SELECT position, room_id, seq, words FROM ${search.view}
        WHERE words @@ $1::tsquery AND position <= $2::bigint AND ${where} ORDER BY position DESC LIMIT ${RANKED}
      ), ranked AS (
        SELECT position, room_id, seq, ts_rank(words, $1::tsquery, 1)::float8 AS rank, max(position) OVER () AS up_to FROM newest
      ), page AS (
        SELECT r.*, sum(coalesce(octet_length(body) + octet_length(attachments::text), 0)) OVER (ORDER BY rank DESC, r.position DESC
          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM (
          SELECT * FROM ranked WHERE (rank, position) < ($3::float8, $4::bigint) ORDER BY rank DESC, position DESC LIMIT $5
        ) r LEFT JOIN ${posts.view} p ON r.room_id = '' AND p.position = r.position
      )
      SELECT f.rank, f.position, f.up_to AS "upTo", CASE WHEN p.id IS NOT NULL THEN json_build_object(
          'id', p.id, 'author_id', p.author_id, 'author_name', p.author_name, 'title', p.title, 'body', p.body,
          'attachments', p.attachments, 'created_at', p.created_at, 'position', p.position::text
        ) END AS post, CASE WHEN m.id IS NOT NULL THEN json_build_object(
          'id', m.id, 'roomId', m.room_id, 'userId', m.user_id, 'username', m.username,
          'content', m.content, 'createdAt', m.created_at, 'isBot', m.is_bot, 'seq', m.seq
        ) END AS message, r.name AS "roomName"
      FROM page f
      LEFT JOIN ${posts.view} p ON f.room_id = '' AND p.position = f.position
      LEFT JOIN ${messages.view} m ON m.room_id = f.room_id AND m.seq = f.seq
      LEFT JOIN ${rooms.view} r ON r.room_id = f.room_id
      WHERE f.before IS NULL OR f.before < $6
      ORDER BY f.rank DESC, f.position DESC`,
  }
}

export type Found = {cursor: SearchCursor} & (
  | {kind: 'post'; post: PostRow}
  | {kind: 'message'; message: Message; roomName: string}
)

type Stored = {
  rank: number
  position: string
  upTo: string
  post: PostRow | null
  message: Message | null
  roomName: string
}

/** What matches best first; of what matches as well the newest. */
export const findWords = async (pool: Pool, ...of: Parameters<typeof searchStatement>): Promise<Found[]> => {
  const {rows} = await pool.query<Stored>(searchStatement(...of))
  return rows.flatMap(({rank, position, upTo, post, message, roomName}): Found[] => {
    const cursor = {rank, position: BigInt(position), upTo: BigInt(upTo)}
    // JSON has times as text.
    if (post) return [{cursor, kind: 'post', post: {...post, created_at: new Date(post.created_at)}}]
    const createdAt = message && new Date(message.createdAt).toISOString()
    return message ? [{cursor, kind: 'message', message: {...message, createdAt: createdAt!}, roomName}] : []
  })
}
