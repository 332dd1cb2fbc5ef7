import type {Request} from 'express'
import type {Config} from '../config.ts'

/**
 * How our cookies are set. Where CORS_ORIGINS lets pages of other sites in, over https, their browsers must send them
 * too, and those that keep cookies apart by site want to be told so (Partitioned).
 */
export const cookieFlags = ({baseUrl, corsOrigins}: Pick<Config, 'baseUrl' | 'corsOrigins'>) => {
  const secure = baseUrl.startsWith('https:')
  const own = {httpOnly: true, path: '/', secure}
  return secure && corsOrigins.length > 0
    ? {...own, sameSite: 'none' as const, partitioned: true}
    : {...own, sameSite: 'lax' as const}
}

/** The cookie's value as it was sent, undecoded: ours need no decoding. */
export const cookieOf = (req: Request, name: string): string | null => {
  for (const part of (req.headers.cookie ?? '').split(';')) {
    const at = part.indexOf('=')
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim()
  }
  return null
}
