import type {Pool} from 'pg'
import {ERASED} from '../domain/event.ts'
import {readTable} from './readTable.ts'

export const posts = readTable({
  name: 'posts',
  version: 1,
  columns: {
    id: 'text',
    author_id: 'text',
    author_name: 'text',
    title: 'text',
    body: 'text',
    attachments: 'jsonb',
    created_at: 'timestamptz',
    position: 'bigint',
  },
  key: ['id'],
  indexes: ['UNIQUE (position)'],
  erased: [{where: 'author_id', set: {author_name: ERASED, title: ERASED, body: ERASED, attachments: '[]'}}],
  handlers: {
    PostCreated: ({data, metadata, position}, rows) =>
      rows.put({
        id: data.postId,
        author_id: data.authorId,
        author_name: data.authorName,
        title: data.title,
        body: data.body,
        attachments: JSON.stringify(data.attachments),
        created_at: metadata.time,
        position,
      }),
  },
})

export type PostRow = {
  id: string
  author_id: string
  author_name: string
  title: string
  body: string
  attachments: string[]
  created_at: Date
  position: string
}

const COLUMNS = 'id, author_id, author_name, title, body, attachments, created_at, position'

/** So few are no more than some MiB, however long they are; to add up their sizes is most of such a query's time. */
export const FEW_POSTS = 25

/**
 * Newest first, at least one where there is one. `before`: the position of the last post of the page before. `after`: posts
 * that are newer than the one at this position. `bytes`: how much text is read before it stops, so that large posts do not
 * fill the memory.
 */
export const listPosts = async (
  pool: Pool,
  {
    before,
    after,
    limit,
    bytes,
  }: {before?: bigint | string | undefined; after?: bigint | string | undefined; limit: number; bytes: number},
): Promise<PostRow[]> => {
  const range = [before?.toString() ?? '9223372036854775807', after?.toString() ?? '-1']
  const {rows} = await pool.query<PostRow>(
    limit <= FEW_POSTS
      ? {
          // With the limit in it, so that one plan is as good as any and is kept: to plan takes longer than to read.
          name: `list ${limit} posts`,
          text: `SELECT ${COLUMNS} FROM ${posts.view}
                 WHERE position < $1 AND position > $2 ORDER BY position DESC LIMIT ${limit}`,
          values: range,
        }
      : {
          name: 'list posts',
          text: `SELECT ${COLUMNS} FROM (
                   SELECT ${COLUMNS}, size, sum(size) OVER (ORDER BY position DESC ROWS UNBOUNDED PRECEDING) AS total
                   FROM ${posts.view}, LATERAL (SELECT octet_length(body) + octet_length(attachments::text) AS size) s
                   WHERE position < $1 AND position > $2 ORDER BY position DESC LIMIT $3
                 ) p WHERE total - size < $4 ORDER BY position DESC`,
          values: [...range, limit, bytes],
        },
  )
  return rows
}

export const findPost = async (pool: Pool, id: string): Promise<PostRow | null> => {
  const {rows} = await pool.query<PostRow>({
    name: 'find post',
    text: `SELECT ${COLUMNS} FROM ${posts.view} WHERE id = $1`,
    values: [id],
  })
  return rows[0] ?? null
}
