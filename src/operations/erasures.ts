import {randomUUID} from 'node:crypto'
import {readdir, rm} from 'node:fs/promises'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import type {Pool} from 'pg'
import type {Logger} from 'pino'
import {type Erasure, eraseUser, finishErasure} from '../commands/eraseUser.ts'
import {deleteReadMarks} from '../edge/readMarks.ts'
import type {Feed} from '../feed.ts'
import type {Foundation} from '../foundation.ts'
import {isFaulty} from '../log/codec.ts'
import {listUnfinishedErasures} from '../projections/erasures.ts'
import {listRoomIdsOf, roomInvitations} from '../projections/roomInvitations.ts'
import {roomMembers} from '../projections/roomMembers.ts'
import {listDeadAttempts} from '../projections/users.ts'
import {userStream} from '../streams/streams.ts'
import type {Uploads} from '../uploads/uploads.ts'
import {isScrubDue, scrub} from './scrub.ts'

const EVERY_MS = 60 * 60_000
const REACH_MS = 10_000
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
    const reached = head === null || (await applied.reached([roomMembers, roomInvitations], head, REACH_MS))
    if (!reached) throw new Error('the rooms of the erased person are not known yet: the read tables are behind')
    return listRoomIdsOf(pool, userId, identity)
  },
  endSessions: async (userId) => {
    await pool.query(`DELETE FROM state.sessions WHERE sess->>'userId' = $1`, [userId])
    await deleteReadMarks(pool, userId)
  },
  deleteUploads: async (userId) => {
    for await (const record of log.readStream(userStream(userId))) {
      const [event] = await codec.decode([record])
      if (event && !isFaulty(event) && event.type === 'FileUploaded') await uploads?.remove(event.data.key)
    }
  },
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
 * attempts that came to nothing. Any node may do it, at any time, and several at once.
 */
export const finishErasures = async (pool: Pool, erasure: Erasure): Promise<void> => {
  const context = {name: 'finishErasure', actor: null, correlationId: randomUUID()}
  for (const userId of await listUnfinishedErasures(pool)) await finishErasure(erasure, userId, context)
  for (const userId of await listDeadAttempts(pool)) await eraseUser(erasure, userId, context)
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
  const once = async () => {
    await finishErasures(pool, erasure)
    if (!(await isScrubDue(pool, SCRUB_AFTER_HOURS))) return
    const {people, left} = await scrub(url, pool)
    logger.info({people, left}, 'the files of the database were cleared of who was erased')
  }
  const run = async () => {
    while (!stopped.signal.aborted) {
      const ready = isReady()
      try {
        if (ready) await once()
      } catch (error) {
        logger.warn({error: String(error)}, 'an erasure could not be finished: it is tried again')
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
