import type {Request} from 'express'
import {ApiError} from '../edge/errors.ts'
import type {KeyStore} from '../keys/keyStore.ts'

/**
 * The name of what this request creates, the same each time the person sends the key to the path; null where it bears no
 * Idempotency-Key. Throws INVALID for a key that is not 1 to 255 printable ASCII characters.
 */
export const repeatOf = (
  req: Request,
  keys: Pick<KeyStore, 'repeatableId'>,
  {userId, path}: {userId: string; path: string},
): string | null => {
  const key = req.get('idempotency-key')
  if (key === undefined) return null
  if (/^[\x20-\x7e]{1,255}$/.test(key)) return keys.repeatableId(userId, path, key)
  const message = 'must be 1 to 255 printable ASCII characters'
  throw new ApiError('INVALID', {issues: [{path: 'Idempotency-Key', message}]})
}

/** The path as the key is bound to it: however the client spelt it. */
export const pathOf = (pattern: string, params: unknown): string =>
  pattern.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent((params as Record<string, string>)[name]!))
