import {z} from 'zod'
import {text} from '../domain/text.ts'
import type {Parts} from '../edge/parts.ts'
import {postBody} from '../edge/postBody.ts'
import {MessageShape, Ok, PostShape} from '../edge/shapes.ts'
import {messages} from '../projections/messages.ts'
import {posts} from '../projections/posts.ts'
import {roomMembers} from '../projections/roomMembers.ts'
import {rooms} from '../projections/rooms.ts'
import {type Found, findWords, queryOf, type SearchCursor, search} from '../projections/search.ts'
import {linkTo} from './link.ts'
import {count} from './parameters.ts'
import {type Route, route} from './route.ts'

const PAGE_BYTES = 4 * 1024 * 1024

const ResultShape = z
  .discriminatedUnion('kind', [
    z.object({kind: z.literal('post'), post: PostShape}),
    z.object({kind: z.literal('message'), roomName: z.string(), message: MessageShape}),
  ])
  .meta({id: 'SearchResult', description: 'A post, or a message in a room that one is in.'})

/** Rank, position, and the newest position that the first page knew. */
const cursor = z
  .string()
  .regex(/^\d(\.\d{1,20})?(e-\d{1,3})?(~\d{1,18}){2}$/, 'must be the cursor of a Link header')
  .transform((value): SearchCursor => {
    const [rank, position, upTo] = value.split('~')
    return {rank: Number(rank), position: BigInt(position!), upTo: BigInt(upTo!)}
  })
  .describe('Where the page goes on: from the `Link` header of the page before. It means something to the server only.')

const cursorText = ({rank, position, upTo}: SearchCursor): string => `${rank}~${position}~${upTo}`

export const searchRoutes = ({pool, uploadUrls: {toUrl}}: Parts): Route[] => {
  const resultOf = (found: Found) =>
    found.kind === 'post'
      ? {kind: 'post' as const, post: postBody(found.post, toUrl)}
      : {kind: 'message' as const, roomName: found.roomName, message: found.message}

  return [
    route({
      operationId: 'search',
      method: 'get',
      path: '/api/search',
      summary: 'Posts that hold what one looks for, and messages of the rooms one is in',
      description:
        'The best match first, then the newest. All the words, in any order and whatever their case and accents; the last one may be the beginning of a word. `"these words"` are looked for as they follow each other, `-word` is not to be there, `or` between two words lets either do. Who is not signed in finds posts, a bot what is said in every room. Pages neither skip nor repeat while others write; of what matches the newest 10,000 are ranked.',
      auth: 'optional',
      query: z.object({
        q: text({max: 200}).describe('What one looks for.'),
        limit: count(1, 100).default(20).describe('How many results a page.'),
        cursor: cursor.optional(),
      }),
      answer: Ok.extend({results: z.array(ResultShape)}),
      tables: [search, posts, messages, rooms, roomMembers],
      handle: async ({by, query: {q, limit, cursor}}) => {
        const query = queryOf(q)
        const page = {after: cursor ?? null, limit: limit + 1, bytes: PAGE_BYTES}
        const found = query === null ? [] : await findWords(pool, query, by, page)
        const results: ReturnType<typeof resultOf>[] = []
        let bytes = 0
        for (const one of found.slice(0, limit)) {
          const result = resultOf(one)
          bytes += Buffer.byteLength(JSON.stringify(result))
          if (bytes > PAGE_BYTES && results.length > 0) break
          results.push(result)
        }
        const last = results.length < found.length ? found[results.length - 1] : undefined
        const next = last && new URLSearchParams({q, limit: `${limit}`, cursor: cursorText(last.cursor)})
        return {body: {ok: true, results}, headers: linkTo(next ? `/api/search?${next}` : null)}
      },
    }),
  ]
}
