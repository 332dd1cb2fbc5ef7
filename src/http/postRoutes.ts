import {z} from 'zod'
import {createPost} from '../commands/createPost.ts'
import {isRefusal} from '../domain/event.ts'
import {PostBody, type PostId, Title} from '../domain/post.ts'
import {storable} from '../domain/text.ts'
import {ApiError, refused} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import {postBody} from '../edge/postBody.ts'
import {Ok, PostShape} from '../edge/shapes.ts'
import {newPostId} from '../keys/ids.ts'
import {findPost, listPosts, type PostRow, posts} from '../projections/posts.ts'
import {linkTo} from './link.ts'
import {count, cursor, pathId} from './parameters.ts'
import {type Route, route} from './route.ts'

const LIST_BYTES = 4 * 1024 * 1024
const READ_AT_ONCE = 200

const isWebUrl = (value: string) => /^https?:\/\/[^\s\p{Cc}]+$/iu.test(value) && URL.canParse(value)

export const postRoutes = ({pool, execute, beganAt, config, uploadUrls: {toStored, toUrl}}: Parts): Route[] => {
  // Whether such an upload is there, and whose it is, is not asked: it is a URL like any other, and may be quoted.
  const isOwnUpload = (value: string) => toStored(value) !== value
  const AttachmentUrl = storable.refine(
    (value) => isWebUrl(value) || isOwnUpload(value),
    'must be an http or https URL, or that of an upload',
  )
  const toPost = (row: PostRow) => postBody(row, toUrl)

  /** Posts until `limit` or 4 MiB of JSON, at least one; `next` is the cursor where there are more. */
  const readPage = async (before: bigint | null, limit: number) => {
    const page: ReturnType<typeof toPost>[] = []
    let bytes = 1
    let from = before
    for (;;) {
      const wanted = Math.min(READ_AT_ONCE, limit + 1 - page.length)
      const rows = await listPosts(pool, {before: from, limit: wanted, bytes: LIST_BYTES})
      for (const row of rows) {
        const post = toPost(row)
        bytes += Buffer.byteLength(JSON.stringify(post)) + 1
        if (page.length === limit || (bytes > LIST_BYTES && page.length > 0)) return {page, next: from}
        page.push(post)
        from = BigInt(row.position)
      }
      if (rows.length === 0) return {page, next: null}
    }
  }

  return [
    route({
      operationId: 'listPosts',
      method: 'get',
      path: '/api/posts',
      summary: 'Posts, newest first',
      description:
        'Without a query all of them, up to a limit of the server, past which `Link` leads on. With `limit` pages of that size, which neither skip nor repeat while posts are being written.',
      auth: 'none',
      query: z.object({limit: count(1, 100).optional().describe('How many a page.'), cursor: cursor.optional()}),
      answer: z.array(PostShape),
      tables: [posts],
      handle: async ({query}) => {
        const {page, next} = await readPage(query.cursor ?? null, query.limit ?? config.postsUnpagedMax)
        return {
          body: page,
          headers: linkTo(next === null ? null : `/api/posts?limit=${query.limit ?? 100}&cursor=${next}`),
        }
      },
    }),
    route({
      operationId: 'readPost',
      method: 'get',
      path: '/api/posts/:postId',
      summary: 'One post',
      auth: 'none',
      params: z.object({postId: pathId}),
      answer: Ok.extend({post: PostShape}),
      errors: ['NOT_FOUND'],
      tables: [posts],
      handle: async ({params: {postId}}) => {
        const post = await findPost(pool, postId)
        if (!post) throw new ApiError('NOT_FOUND')
        return {body: {ok: true, post: toPost(post)}}
      },
    }),
    route({
      operationId: 'createPost',
      method: 'post',
      path: '/api/posts',
      summary: 'Writes a post',
      description: 'Attachments are http or https URLs, or those that `uploadFile` gave.',
      auth: 'person',
      body: z.object({
        title: Title,
        body: PostBody.default(''),
        attachments: z.array(AttachmentUrl).max(10, 'must have at most 10 items').default([]),
      }),
      answer: Ok.extend({post: PostShape}),
      errors: ['IDEMPOTENCY_KEY_REUSED'],
      repeatable: true,
      tables: [posts],
      handle: async ({by, body, repeat, requestId}) => {
        const postId = repeat === null ? newPostId() : (`u-${repeat}` as PostId)
        const content = {...body, attachments: body.attachments.map(toStored)}
        const created = await createPost({execute, beganAt}, {by, postId, content}, {correlationId: requestId})
        if (isRefusal(created)) throw refused(created)
        const {post, position, time} = created
        const {authorId, authorName, title, attachments} = post
        return {
          body: {
            ok: true,
            post: {
              id: postId,
              author_id: authorId,
              author_name: authorName,
              title,
              body: post.body,
              attachments: attachments.map(toUrl),
              created_at: time,
            },
          },
          position,
        }
      },
    }),
  ]
}
