import {createHmac} from 'node:crypto'
import {isIPv6} from 'node:net'
import type {Pool} from 'pg'
import {type RateLimiterAbstract, RateLimiterMemory, RateLimiterPostgres, RateLimiterRes} from 'rate-limiter-flexible'
import type {Config} from '../config.ts'
import {ApiError} from './errors.ts'

export const LIMITS_DDL = `
CREATE SCHEMA IF NOT EXISTS state;
CREATE TABLE IF NOT EXISTS state.limits (key text PRIMARY KEY, points integer NOT NULL DEFAULT 0, expire bigint);
`

/** Counts one use and throws RATE_LIMITED, with the time to wait, where it is one too many. */
export type Limit = (key: string) => Promise<void>
export type Limits = {mails: Limit; logins: Limit; writes: Limit; messages: Limit}

/**
 * Mails and logins are counted in Postgres, for all nodes and over restarts, by a hash of whom under `secret`; writes and
 * messages, of which there are many, by each node, in memory.
 */
export const openLimits = (pool: Pool, config: Config['limits'], secret: Buffer): Limits => {
  const hidden = (key: string) => createHmac('sha256', secret).update(key).digest('base64url')
  const onAllNodes = (keyPrefix: string, points: number, duration: number): Limit => {
    const counted = limit(
      points,
      () =>
        new RateLimiterPostgres({
          storeClient: pool,
          points,
          duration,
          keyPrefix,
          schemaName: 'state',
          tableName: 'limits',
          tableCreated: true,
        }),
    )
    return (key) => counted(hidden(key))
  }
  const onThisNode = (keyPrefix: string, points: number): Limit =>
    limit(points, () => new RateLimiterMemory({points, duration: 60, keyPrefix}))
  return {
    mails: onAllNodes('mails', config.mailsPerIp, 24 * 3600),
    logins: onAllNodes('logins', config.loginsPerMinute, 60),
    writes: onThisNode('writes', config.writesPerMinute),
    messages: onThisNode('messages', config.messagesPerMinute),
  }
}

const limit = (points: number, open: () => RateLimiterAbstract): Limit => {
  if (points === 0) return async () => {}
  const limiter = open()
  return async (key) => {
    try {
      await limiter.consume(key)
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error
      throw new ApiError('RATE_LIMITED', {}, Math.max(1, Math.ceil(error.msBeforeNext / 1000)))
    }
  }
}

/** What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer gets. */
export const clientNetwork = (ip: string): string => {
  // What a careless proxy passes on need not be an address, nor short.
  if (!isIPv6(ip)) return ip.slice(0, 64)
  // As the host of a URL it is in its one spelling (RFC 5952), without dots.
  const {hostname} = new URL(`http://[${ip.split('%')[0]}]`)
  const [left = [], right = []] = hostname
    .slice(1, -1)
    .split('::')
    .map((half) => (half === '' ? [] : half.split(':')))
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  if (groups.slice(0, 6).join(':') !== '0:0:0:0:0:ffff') return `${groups.slice(0, 4).join(':')}::/64`
  const [high = 0, low = 0] = groups.slice(6).map((group) => Number.parseInt(group, 16))
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}
