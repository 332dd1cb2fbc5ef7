import {isUtf8} from 'node:buffer'
import express, {type Request, type Response} from 'express'
import {ApiError} from '../edge/errors.ts'

const MAX_BYTES = 512 * 1024

const parse = express.json({
  limit: MAX_BYTES,
  // What is JSON and no object is told so by the route's schema.
  strict: false,
  // It was looked at before.
  type: () => true,
  // Left alone, a byte that is no UTF-8 would be stored as a replacement character.
  verify: (_req, _res, bytes) => {
    if (!isUtf8(bytes)) throw new ApiError('INVALID', {issues: [{path: '', message: 'the body must be UTF-8'}]})
  },
})

/** Reads the request's JSON into `req.body`; a request without a body has none. Throws NOT_JSON, TOO_LARGE and INVALID. */
export const readJson = async (req: Request, res: Response): Promise<void> => {
  const hasBody = req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
  if (!hasBody) return
  const charset = /;\s*charset="?([^\s;"]*)/i.exec(req.get('content-type') ?? '')?.[1]
  if (!req.is('application/json') || !/^(utf-?8)?$/i.test(charset ?? '')) throw new ApiError('NOT_JSON')
  await new Promise<void>((resolve, reject) =>
    parse(req, res, (error?: unknown) => (error ? reject(error as Error) : resolve())),
  )
}
