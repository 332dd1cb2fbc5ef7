import type {RequestHandler} from 'express'

const EXPOSED = 'X-Log-Position, Link, ETag, Retry-After'
const METHODS = 'GET, HEAD, POST, DELETE'
const HEADERS = 'Content-Type, If-None-Match, Idempotency-Key, X-Min-Position, Authorization, X-Bot-Id'
/** Browsers keep a preflight's answer for at most two hours; ten minutes lets a change of CORS_ORIGINS through. */
const PREFLIGHT_SECONDS = '600'

/**
 * What a browser asks before a page of another origin may read an answer, errors too (the Fetch standard's CORS protocol).
 * An origin that is not in the list gets no such header: its browser keeps the answer from it.
 */
export const crossOrigin =
  (origins: readonly string[]): RequestHandler =>
  (req, res, next) => {
    if (origins.length === 0) return next()
    res.vary('Origin')
    const {origin} = req.headers
    if (origin === undefined || !origins.includes(origin)) return next()
    res.set({
      'Access-Control-Allow-Origin': origin,
      'Access-Control-Allow-Credentials': 'true',
      'Access-Control-Expose-Headers': EXPOSED,
    })
    if (req.method !== 'OPTIONS' || req.get('access-control-request-method') === undefined) return next()
    res.set({
      'Access-Control-Allow-Methods': METHODS,
      'Access-Control-Allow-Headers': HEADERS,
      'Access-Control-Max-Age': PREFLIGHT_SECONDS,
    })
    res.status(204).end()
  }
