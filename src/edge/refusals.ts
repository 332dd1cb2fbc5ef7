import {setTimeout as pause} from 'node:timers/promises'
import type {Pool} from 'pg'
import type {Logger} from 'pino'
import type {CommandContext, Execute} from '../commands/execute.ts'
import type {Refusal} from '../domain/event.ts'
import type {Person} from './callers.ts'
import {ApiError} from './errors.ts'
import {type Refused, recordRefusal, type Unwritten} from './recordRefusal.ts'

export const UNWRITTEN_DDL = `
CREATE SCHEMA IF NOT EXISTS state;
CREATE TABLE IF NOT EXISTS state.unwritten_refusals (
  user_id text NOT NULL,
  kind text NOT NULL,
  count int NOT NULL,
  PRIMARY KEY (user_id, kind)
);
`

/** How long an answer waits for its refusal to be written down. */
const WAIT_MS = 1_000

/** What a command is refused for, because of who asks or how things stand: the rest is no command yet. */
const CODES: {readonly [code in Refusal['refused']]: true} = {
  EMAIL_TAKEN: true,
  TOKEN_INVALID: true,
  WRONG_CREDENTIALS: true,
  NOT_VERIFIED: true,
  NOT_FOUND: true,
  NOT_A_MEMBER: true,
  NOT_INVITED: true,
  ROOM_FULL: true,
  TOO_MANY_INVITATIONS: true,
  IDEMPOTENCY_KEY_REUSED: true,
}

/** Writes refusals down. What can't be written is told to the server's log, and never fails the answer. */
export type Refusals = {
  /** Begun, and not waited for: an answer that took longer for known accounts would tell which are. */
  signInFailed(data: Extract<Refused, {type: 'SignInFailed'}>['data'], context: Omit<CommandContext, 'actor'>): void
  /** Where a person's command was refused: written down before the answer, unless that takes too long. */
  commandFailed(by: Person, command: string, error: unknown, requestId: string): Promise<void>
  /** Resolves when all that was begun is written down. */
  settled(): Promise<void>
}

export const openRefusals = ({
  execute,
  pool,
  logger,
}: {
  execute: Execute
  pool: Pool
  logger: Pick<Logger, 'warn'>
}): Refusals => {
  const unwritten = openUnwritten(pool)
  const underWay = new Set<Promise<void>>()

  const write = (refused: Refused, context: CommandContext): Promise<void> => {
    const {userId} = refused.data
    const written = recordRefusal({execute, unwritten}, refused, new Date(), context)
      .catch((error) =>
        logger.warn({userId, requestId: context.correlationId, error: String(error)}, 'a refusal was not written down'),
      )
      .finally(() => underWay.delete(written))
    underWay.add(written)
    return written
  }

  return {
    signInFailed: (data, context) => void write({type: 'SignInFailed', data}, {...context, actor: null}),
    commandFailed: async ({userId, isBot}, command, error, requestId) => {
      if (isBot || !(error instanceof ApiError) || !(error.code in CODES)) return
      const data = {userId, command, refused: error.code}
      const context = {name: command, actor: userId, correlationId: requestId}
      const late = new AbortController()
      const waited = pause(WAIT_MS, undefined, {signal: late.signal}).catch(() => {})
      await Promise.race([write({type: 'CommandRefused', data}, context), waited])
      late.abort()
    },
    settled: async () => {
      await Promise.all(underWay)
    },
  }
}

export const openUnwritten = (pool: Pool): Unwritten => ({
  add: async (userId, kind, count) => {
    await pool.query({
      name: 'count refusals',
      text: `INSERT INTO state.unwritten_refusals AS r VALUES ($1, $2, $3)
             ON CONFLICT (user_id, kind) DO UPDATE SET count = r.count + excluded.count`,
      values: [userId, kind, count],
    })
  },
  take: async (userId, kind) => {
    const {rows} = await pool.query<{count: number}>({
      name: 'take refusals',
      text: 'DELETE FROM state.unwritten_refusals WHERE user_id = $1 AND kind = $2 RETURNING count',
      values: [userId, kind],
    })
    return rows[0]?.count ?? 0
  },
})

/** Of who is erased. */
export const deleteUnwritten = async (pool: Pool, userId: string): Promise<void> => {
  await pool.query('DELETE FROM state.unwritten_refusals WHERE user_id = $1', [userId])
}
