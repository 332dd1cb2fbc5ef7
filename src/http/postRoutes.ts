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
import {findPost, type PostRow, posts} from '../projections/posts.ts'
import {count, cursor, pathId} from './parameters.ts'
import {openPostPages} from './postPages.ts'
import {type Route, route} from './route.ts'

const isWebUrl = (value: string) => /^https?:\/\/[^\s\p{Cc}]+$/iu.test(value) && URL.canParse(value)

export const postRoutes = (parts: Parts): Route[] => {
  const {pool, execute, beganAt, uploadUrls} = parts
  const {toStored, toUrl} = uploadUrls
  // Whether such an upload is there, and whose it is, is not asked: it is a URL like any other, and may be quoted.
  const isOwnUpload = (value: string) => toStored(value) !== value
  const AttachmentUrl = storable.refine(
    (value) => isWebUrl(value) || isOwnUpload(value),
    'must be an http or https URL, or that of an upload',
  )
  const toPost = (row: PostRow) => postBody(row, toUrl)

  const pages = openPostPages(parts, toPost)

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
      handle: ({query: {limit = null, cursor}}) =>
        cursor === undefined ? pages.first(limit) : pages.after(cursor, limit),
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
