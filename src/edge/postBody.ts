import type {PostRow} from '../projections/posts.ts'

/** A post as a client gets it; `toUrl`: a stored attachment's URL. Field by field: a copy of the rest costs three times as much. */
export const postBody = (
  {id, author_id, author_name, title, body, attachments, created_at}: PostRow,
  toUrl: (stored: string) => string,
) => ({
  id,
  author_id,
  author_name,
  title,
  body,
  attachments: attachments.map(toUrl),
  created_at: created_at.toISOString(),
})
