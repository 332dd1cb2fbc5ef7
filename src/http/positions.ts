import type {Request, Response} from 'express'
import type {Config} from '../config.ts'
import {cookieFlags, cookieOf} from '../edge/cookies.ts'
import {ApiError} from '../edge/errors.ts'
import type {EventLog} from '../log/eventLog.ts'
import type {Tail} from '../log/tail.ts'
import type {Applied} from '../projections/applied.ts'
import type {ReadTable} from '../projections/readTable.ts'

const WAIT_MS = 2_000
/** So much less time has what a read brings no position for: it is answered then. */
const SEEN_MS = 1_000
const COOKIE = 'log_position'

/**
 * Reading one's own writes. A write answers once its tables hold it, and gives its position in a header and a cookie; a
 * read that brings either waits until its tables hold that, so it is true on any node, also right after a fail-over.
 */
export const openPositions = ({
  log,
  tail,
  applied,
  config,
}: {
  log: EventLog
  tail: Tail
  applied: Applied
  config: Config
}) => {
  const isPastHead = async (position: bigint): Promise<boolean> => {
    if (position <= (tail.position() ?? -1n)) return false
    return position > ((await log.head()) ?? -1n)
  }

  return {
    /** Before a read. `also`: what this node has shown to the person over a socket. */
    beforeRead: async (req: Request, tables: readonly ReadTable[], also: bigint | null = null): Promise<void> => {
      const header = req.get('x-min-position')
      const fromHeader = header === undefined ? null : parse(header)
      if (header !== undefined && (fromHeader === null || (await isPastHead(fromHeader)))) {
        throw new ApiError('POSITION_UNKNOWN')
      }
      if (applied.building(tables).length > 0) throw new ApiError('UNAVAILABLE', {}, 2)
      // What is fed apart may be behind what this node has answered to anybody. Where it has stopped, that is all there is.
      const apart = tables.filter((table) => table.apart && applied.states().get(table.view)?.fault === null)
      const began = performance.now()
      if (apart.length > 0) await applied.reached(apart, tail.position() ?? -1n, SEEN_MS)
      if (fromHeader === null && also === null && req.headers.cookie === undefined) return
      const cookie = parse(cookieOf(req, COOKIE) ?? '')
      const fromCookie = cookie !== null && !(await isPastHead(cookie)) ? cookie : null
      const positions = [fromHeader, fromCookie, also].filter((position) => position !== null)
      if (positions.length === 0) return
      const newest = positions.reduce((high, one) => (one > high ? one : high))
      const left = WAIT_MS - (performance.now() - began)
      if (!(await applied.reached(tables, newest, left))) throw new ApiError('BEHIND')
    },

    /** After a write. Past the time it answers all the same: the write is stored. */
    afterWrite: async (req: Request, res: Response, tables: readonly ReadTable[], position: bigint): Promise<void> => {
      res.set('X-Log-Position', position.toString())
      const before = parse(cookieOf(req, COOKIE) ?? '') ?? -1n
      const newest = before > position && !(await isPastHead(before)) ? before : position
      res.cookie(COOKIE, newest.toString(), cookieFlags(config))
      await applied.reached(tables, position, WAIT_MS)
    },
  }
}

const parse = (value: string): bigint | null => (/^\d{1,19}$/.test(value) ? BigInt(value) : null)
