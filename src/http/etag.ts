import {createHash} from 'node:crypto'

/** A strong validator of what is sent (RFC 9110, 8.8): derived from every byte of it, so it can't be stale. */
export const etagOf = (...parts: (string | Buffer)[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return `"${hash.digest('base64url')}"`
}

/**
 * Whether the client has it already: If-None-Match, compared weakly (RFC 9110, 13.1.2), because a proxy that compresses
 * weakens what it passes on. A `Cache-Control: no-cache` beside it says nothing: fetch adds one to every conditional request.
 */
export const isKnown = (ifNoneMatch: string | undefined, etag: string): boolean =>
  ifNoneMatch !== undefined &&
  (ifNoneMatch.trim() === '*' ||
    ifNoneMatch.split(',').some((candidate) => candidate.trim().replace(/^W\//, '') === etag))
