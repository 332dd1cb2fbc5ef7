import {setTimeout as sleep} from 'node:timers/promises'
import {getSystemErrorName} from 'node:util'
import type {Pool} from 'pg'
import type {Logger} from 'pino'
import {seal, unseal} from '../keys/seal.ts'
import type {Mail, Transport} from './transport.ts'

/** `released_at`: when the event that the mail waits for was known to be in the log. `next_try`: also the lease of the node that tries now. */
export const MAIL_QUEUE_DDL = `
CREATE SCHEMA IF NOT EXISTS state;
CREATE TABLE IF NOT EXISTS state.mails (
  event_id text PRIMARY KEY,
  stream text NOT NULL,
  sealed bytea NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  queued_at timestamptz NOT NULL DEFAULT now(),
  released_at timestamptz,
  next_try timestamptz NOT NULL DEFAULT now() + interval '5 seconds'
);
CREATE INDEX IF NOT EXISTS mails_next_try ON state.mails (next_try);
`

/** So many mails wait already that no more are taken: the mail server has been down for long, or somebody floods. */
export class MailQueueFull extends Error {
  override name = 'MailQueueFull'
}

export type MailQueue = {
  /** Keeps the mail until its event is in the log. To be awaited before the append. Throws {@link MailQueueFull}. */
  enqueue(mail: Mail, awaits: {stream: string; eventId: string}): Promise<void>
  /**
   * The event is in the log: the mail may go. Never throws: what is not told here is found in the log after 5 seconds. Where
   * mails are files, whoever is told to look for one finds it: it is waited for, not long.
   */
  release(eventId: string): Promise<void>
  /** How many wait, on all nodes. */
  count(): Promise<number>
  /** Lets what is being sent end for 3 seconds; the rest is sent by another node, or after the next start. */
  stop(): Promise<void>
}

export type MailQueueOptions = {
  pool: Pool
  /** The key of the person whose stream it is, made where there is none; null: erased, and no mail goes to them. */
  keyOf: (stream: string) => Promise<Buffer | null>
  transport: Transport
  isInLog: (stream: string, eventId: string) => Promise<boolean>
  logger: Pick<Logger, 'info' | 'warn' | 'error'>
}

export const MAX_QUEUED = 10_000
const AT_ONCE = 4
const POLL_MS = 3000
const SEND_MS = 60_000
const STOP_MS = 3000
const FILE_MS = 1000

// The lease is longer than any one try, so that two nodes send the same mail only if one of them lost the database.
const CLAIM = `
WITH due AS (
  SELECT event_id FROM state.mails WHERE next_try <= now() ORDER BY attempts, next_try LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE state.mails SET attempts = attempts + 1, next_try = now() + interval '2 minutes'
FROM due WHERE mails.event_id = due.event_id
RETURNING mails.event_id AS "eventId", stream, sealed, attempts, released_at IS NOT NULL AS released,
  queued_at < now() - interval '10 minutes' AS late, queued_at < now() - interval '24 hours' AS expired,
  next_try::text AS lease`

type Claimed = {
  eventId: string
  stream: string
  sealed: Buffer
  attempts: number
  released: boolean
  late: boolean
  expired: boolean
  lease: string
}

/**
 * The mails that wait in `state.mails`, sealed with the key of whom they are to, and this node's sender. A mail goes out
 * at least once when its event is in the log: it is tried for 24 hours with pauses from 10 seconds to an hour, then given up.
 * Wants {@link MAIL_QUEUE_DDL} to have run.
 */
export const openMailQueue = ({pool, keyOf, transport, isInLog, logger}: MailQueueOptions): MailQueue => {
  const hurry = new AbortController()
  const sending = new Set<Promise<void>>()
  /** Called when that mail was tried. */
  const awaited = new Map<string, () => void>()
  let stopping = false
  let woken = false
  let endPause = () => {}

  const wake = () => {
    woken = true
    endPause()
  }

  const pause = async () => {
    if (!woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, POLL_MS)
        endPause = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    woken = false
  }

  const claim = async (): Promise<Claimed[]> => {
    const free = AT_ONCE - sending.size
    if (free === 0) return []
    try {
      return (await pool.query<Claimed>(CLAIM, [free])).rows
    } catch (error) {
      logger.warn(reasonOf(error), 'the mail queue does not reach its database')
      return []
    }
  }

  /** Whether this node may send it now: false where the event is not there, or `release` was faster. */
  const releasedByLog = async ({eventId, stream, late, lease}: Claimed): Promise<boolean> => {
    if (await isInLog(stream, eventId)) {
      const {rowCount} = await pool.query(
        'UPDATE state.mails SET released_at = now() WHERE event_id = $1 AND next_try = $2 AND released_at IS NULL',
        [eventId, lease],
      )
      return rowCount === 1
    }
    if (late) {
      await pool.query('DELETE FROM state.mails WHERE event_id = $1 AND next_try = $2', [eventId, lease])
      logger.info({eventId}, 'a mail is dropped: what it was to tell never happened')
    } else {
      await pool.query(
        `UPDATE state.mails SET next_try = now() + interval '5 seconds' WHERE event_id = $1 AND next_try = $2`,
        [eventId, lease],
      )
    }
    return false
  }

  const attempt = async (row: Claimed): Promise<void> => {
    const {eventId} = row
    if (row.expired) {
      await pool.query('DELETE FROM state.mails WHERE event_id = $1', [eventId])
      logger.error({eventId}, 'a mail is given up: it could not be sent for 24 hours')
      return
    }
    if (!row.released && !(await releasedByLog(row))) return
    const key = await keyOf(row.stream)
    if (!key) return void (await pool.query('DELETE FROM state.mails WHERE event_id = $1', [eventId]))
    const plain = unseal(key, row.sealed, boundTo(eventId))
    if (!plain) throw new Error('a queued mail was sealed with another key')
    const signal = AbortSignal.any([hurry.signal, AbortSignal.timeout(SEND_MS)])
    await transport.send(JSON.parse(plain.toString()), eventId, signal)
    await pool.query('DELETE FROM state.mails WHERE event_id = $1', [eventId])
  }

  const postpone = async ({eventId, attempts, lease}: Claimed): Promise<void> => {
    const seconds = Math.min(5 * 2 ** attempts, 3600)
    await pool.query(
      'UPDATE state.mails SET next_try = now() + make_interval(secs => $3) WHERE event_id = $1 AND next_try = $2',
      [eventId, lease, seconds],
    )
  }

  const work = async (row: Claimed): Promise<void> => {
    try {
      await attempt(row)
    } catch (error) {
      logger.warn({eventId: row.eventId, attempts: row.attempts, ...reasonOf(error)}, 'a mail is tried again later')
      // Without this the lease runs out, and the mail is tried again all the same.
      await postpone(row).catch(() => {})
    }
  }

  const run = async (): Promise<void> => {
    while (!stopping) {
      const rows = await claim()
      for (const row of rows) {
        const done = work(row).finally(() => {
          sending.delete(done)
          awaited.get(row.eventId)?.()
          wake()
        })
        sending.add(done)
      }
      await pause()
    }
    await Promise.all(sending)
  }

  const tried = async (eventId: string): Promise<void> => {
    const late = new AbortController()
    const told = new Promise<void>((resolve) => awaited.set(eventId, resolve))
    await Promise.race([told, sleep(FILE_MS, undefined, {signal: late.signal, ref: false}).catch(() => {})])
    late.abort()
    awaited.delete(eventId)
  }

  const running = run()

  return {
    enqueue: async (mail, {stream, eventId}) => {
      const key = await keyOf(stream)
      if (!key) return
      const sealed = seal(key, Buffer.from(JSON.stringify(mail)), boundTo(eventId))
      const {rowCount} = await pool.query(
        `INSERT INTO state.mails (event_id, stream, sealed)
         SELECT $1, $2, $3 WHERE (SELECT count(*) FROM state.mails) < ${MAX_QUEUED}
         ON CONFLICT (event_id) DO UPDATE SET sealed = excluded.sealed`,
        [eventId, stream, sealed],
      )
      if (rowCount === 0) throw new MailQueueFull(`${MAX_QUEUED} mails wait to be sent`)
    },
    count: async () => {
      const {rows} = await pool.query<{count: number}>('SELECT count(*)::int AS count FROM state.mails')
      return rows[0]!.count
    },
    release: async (eventId) => {
      const sent = transport.isLocal && !stopping ? tried(eventId) : null
      try {
        await pool.query(
          'UPDATE state.mails SET released_at = now(), next_try = now() WHERE event_id = $1 AND released_at IS NULL',
          [eventId],
        )
      } catch (error) {
        logger.warn({eventId, ...reasonOf(error)}, 'a mail is released late: its database was not reached')
      }
      wake()
      await sent
    },
    stop: async () => {
      stopping = true
      wake()
      const timer = setTimeout(() => hurry.abort(), STOP_MS)
      await running
      clearTimeout(timer)
    },
  }
}

/** What waits, on all nodes: how many, how long the oldest, and how often one was tried. */
export const countWaiting = async (pool: Pool): Promise<{count: number; waitedMs: number; attempts: number}> => {
  const {rows} = await pool.query<{count: number; waitedMs: number; attempts: number}>(
    `SELECT count(*)::int AS count, coalesce(max(attempts), 0)::int AS attempts,
       coalesce(extract(epoch FROM now() - min(queued_at)) * 1000, 0)::float8 AS "waitedMs" FROM state.mails`,
  )
  return rows[0]!
}

/** Not what the event's own personal fields are bound to. */
const boundTo = (eventId: string): string => `mail ${eventId}`

/** What an error may say in a log: a mail server's sentence names the address, so its codes alone. */
const reasonOf = (error: unknown) => {
  const {name, code, responseCode, command, syscall, errno} = error as NodeJS.ErrnoException & {
    responseCode?: number
    command?: string
  }
  return {reason: {name, code, responseCode, command, syscall, errno: errno && getSystemErrorName(errno)}}
}
