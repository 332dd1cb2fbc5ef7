import type {PostRow} from '../projections/posts.ts'

/** A post as a client gets it; `toUrl`: a stored attachment's URL. */
export const postBody = (
  {position: _, created_at, attachments, ...post}: PostRow,
  toUrl: (stored: string) => string,
) => ({...post, attachments: attachments.map(toUrl), created_at: created_at.toISOString()})
