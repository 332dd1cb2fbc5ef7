import type {IncomingMessage} from 'node:http'
import type {Config} from '../config.ts'

/**
 * Whether the request comes from a page of another site: its `Origin` is neither its own host, nor BASE_URL, nor one of
 * CORS_ORIGINS. `null` is foreign. Without an `Origin` it comes from no page, or from our own.
 */
export const isForeign = (
  req: IncomingMessage,
  {baseUrl, corsOrigins}: Pick<Config, 'baseUrl' | 'corsOrigins'>,
): boolean => {
  const {origin, host} = req.headers
  if (origin === undefined) return false
  if (origin === baseUrl || corsOrigins.includes(origin)) return false
  return !(/^https?:\/\//.test(origin) && host !== undefined && URL.parse(origin)?.host === host.toLowerCase())
}
