import {randomUUID} from 'node:crypto'
import {readdir, rm} from 'node:fs/promises'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import type {Pool} from 'pg'
import type {Logger} from 'pino'
import {type Erasure, eraseAttempt, finishErasure} from '../commands/eraseUser.ts'
import type {UserId} from '../domain/user.ts'
import {deleteReadMarks} from '../edge/readMarks.ts'
import {deleteUnwritten} from '../edge/refusals.ts'
import type {Feed} from '../feed.ts'
import type {Foundation} from '../foundation.ts'
import {isFaulty} from '../log/codec.ts'
import {listUnfinishedErasures} from '../projections/erasures.ts'
import {dropReplays} from '../projections/replays.ts'
import {listRoomIdsOf, roomInvitations} from '../projections/roomInvitations.ts'
import {roomMembers} from '../projections/roomMembers.ts'
import {listAttemptsBeside, listDeadAttempts, users} from '../projections/users.ts'
import {userStream} from '../streams/streams.ts'
import type {Uploads} from '../uploads/uploads.ts'
import {isScrubDue, scrub} from './scrub.ts'

const EVERY_MS = 60 * 60_000
const REACH_MS = 10_000
const AT_ONCE = 1_000
/** A scrub rewrites tables, so the server gathers erasures for it; within a day it must have been. */
const SCRUB_AFTER_HOURS = 12

/** What an erasure needs, of a server or of the command line. */
export const openErasure = ({
  pool,
  log,
  personKeys,
  codec,
  execute,
  applied,
  uploads,
  mailDir,
}: Foundation & Pick<Feed, 'execute' | 'applied'> & {uploads: Uploads | null; mailDir: string | null}): Erasure => ({
  execute,
  personKeys,
  roomsOf: async (userId, identity) => {
    const head = await log.head()
    const reached = head === null || (await applied.reached([users, roomMembers, roomInvitations], head, REACH_MS))
    if (!reached) throw new Error('the rooms of the erased person are not known yet: the read tables are behind')
    return listRoomIdsOf(pool, userId, identity)
  },
  attemptsBeside: (userId, identity) => listAttemptsBeside(pool, userId, identity),
  endSessions: async (userId) => {
    await pool.query(`DELETE FROM state.sessions WHERE sess->>'userId' = $1`, [userId])
    await deleteReadMarks(pool, userId)
    await deleteUnwritten(pool, userId)
  },
  deleteUploads: async (userId) => {
    for await (const record of log.readStream(userStream(userId))) {
      const [event] = await codec.decode([record])
      if (event && !isFaulty(event) && event.type === 'FileUploaded') await uploads?.remove(event.data.key)
    }
  },
  dropReplays: () => dropReplays(pool),
  deleteMails: async (userId) => {
    await pool.query('DELETE FROM state.mails WHERE stream = $1', [userStream(userId)])
    if (mailDir === null) return
    const events = new Set<string>()
    for await (const {id} of log.readStream(userStream(userId))) events.add(id)
    // A mail's file bears the id of the event that it was sent for.
    for (const file of await readdir(mailDir).catch(() => [])) {
      if (events.has(file.slice(-40, -4))) await rm(join(mailDir, file), {force: true})
    }
  },
})

/**
 * Finishes what a crash cut off, destroys again the keys that a restored backup brought back, and erases registration
 * attempts that came to nothing. Any node may do it, at any time, and several at once. What fails for one person keeps
 * nobody else waiting.
 */
export const finishErasures = async (
  pool: Pool,
  erasure: Erasure,
  {signal, onTrouble}: {signal?: AbortSignal; onTrouble: (userId: UserId, error: unknown) => void},
): Promise<void> => {
  const context = {name: 'finishErasure', actor: null, correlationId: randomUUID()}
  const each = async (list: typeof listDeadAttempts, erase: (userId: UserId) => Promise<unknown>) => {
    for (let after: string | undefined = ''; after !== undefined; ) {
      const people = await list(pool, {after, limit: AT_ONCE})
      for (const userId of people) {
        if (signal?.aborted) return
        await erase(userId).catch((error) => onTrouble(userId, error))
      }
      after = people[AT_ONCE - 1]
    }
  }
  await each(listUnfinishedErasures, (userId) => finishErasure(erasure, userId, context))
  await each(listDeadAttempts, (userId) => eraseAttempt(erasure, userId, new Date(), context))
}

/** Does so once when the read tables can be read, and each hour from then on. */
export const keepErasing = ({
  url,
  pool,
  erasure,
  isReady,
  logger,
}: {
  url: string
  pool: Pool
  erasure: Erasure
  isReady: () => boolean
  logger: Logger
}): {stop(): Promise<void>} => {
  const stopped = new AbortController()
  const onTrouble = (userId: UserId | null, error: unknown) =>
    logger.warn({userId, error: String(error)}, 'an erasure could not be finished: it is tried again')
  const once = async () => {
    await finishErasures(pool, erasure, {signal: stopped.signal, onTrouble})
    if (!(await isScrubDue(pool, SCRUB_AFTER_HOURS))) return
    const {people, left} = await scrub(url, pool, stopped.signal)
    if (left.length === 0) logger.info({people}, 'the files of the database were cleared of who was erased')
    else logger.warn({people, left}, 'the files of the database may hold who was erased: a superuser must run the rest')
  }
  const run = async () => {
    while (!stopped.signal.aborted) {
      const ready = isReady()
      try {
        if (ready) await once()
      } catch (error) {
        if (!stopped.signal.aborted) onTrouble(null, error)
      }
      await pause(ready ? EVERY_MS : 1_000, undefined, {signal: stopped.signal, ref: false}).catch(() => {})
    }
  }
  const running = run()
  return {
    stop: async () => {
      stopped.abort()
      await running
    },
  }
}
