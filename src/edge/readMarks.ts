import {setTimeout as pause} from 'node:timers/promises'
import type {Pool} from 'pg'
import {isFaulty} from '../log/codec.ts'
import type {Tail} from '../log/tail.ts'
import {ApiError} from './errors.ts'

export const READ_MARKS_DDL = `
CREATE SCHEMA IF NOT EXISTS state;
CREATE TABLE IF NOT EXISTS state.read_marks (
  user_id text NOT NULL,
  room_id text NOT NULL,
  seq int NOT NULL,
  PRIMARY KEY (user_id, room_id)
);
`

/** A mark is written at most once in this time, however often it moves. */
const EVERY_MS = 250
/** Marks that may wait to be written; one more is refused with BUSY, and the reader's next one makes up for it. */
const MAX_WAITING = 10_000

type Mark = {userId: string; roomId: string; seq: number}

/** How far each person has read in each room. Who leaves a room and comes back finds the mark where it was. */
export type ReadMarks = {
  /** Moves the mark forward; resolves once it is stored. Throws BUSY. */
  move(mark: Mark): Promise<void>
  /** What this node has yet to store of this person: the seq by room. Who reads stored marks looks here first, and here means here. */
  unstored(userId: string): {readonly [roomId: string]: number}
  /** Stores what waits. */
  stop(): Promise<void>
}

export const openReadMarks = ({pool, tail}: {pool: Pool; tail: Tail}): ReadMarks => {
  /** By person, then by room; each stays until it is stored. */
  const waiting = new Map<string, Map<string, Mark>>()
  const stopping = new AbortController()
  let size = 0
  let stored = Promise.withResolvers<void>()
  let writing: Promise<void> | null = null

  const forget = ({userId, roomId}: Mark) => {
    const ofPerson = waiting.get(userId)
    if (ofPerson?.delete(roomId)) size--
    if (ofPerson?.size === 0) waiting.delete(userId)
  }

  const write = async () => {
    const marks = [...waiting.values()].flatMap((ofPerson) => [...ofPerson.values()])
    const now = stored
    stored = Promise.withResolvers()
    try {
      // In one order on every node, so that two of them never wait for each other.
      await pool.query({
        name: 'move read marks',
        text: `INSERT INTO state.read_marks AS m (user_id, room_id, seq)
               SELECT * FROM unnest($1::text[], $2::text[], $3::int[]) ORDER BY 1, 2
               ON CONFLICT (user_id, room_id) DO UPDATE SET seq = excluded.seq WHERE m.seq < excluded.seq`,
        values: [marks.map(({userId}) => userId), marks.map(({roomId}) => roomId), marks.map(({seq}) => seq)],
      })
      for (const mark of marks) if (waiting.get(mark.userId)?.get(mark.roomId) === mark) forget(mark)
      now.resolve()
    } catch (error) {
      now.promise.catch(() => {})
      now.reject(error)
    }
  }

  /** The first mark is written at once; what comes meanwhile and shortly after goes together. */
  const writeAll = async () => {
    while (size > 0 && !stopping.signal.aborted) {
      await write()
      await pause(EVERY_MS, undefined, {signal: stopping.signal}).catch(() => {})
    }
    writing = null
    // Who came while the same mark was being written, or with one that is behind it, waits for nothing any more.
    if (size > 0) return
    stored.resolve()
    stored = Promise.withResolvers()
  }

  tail.listen((event) => {
    if (event.type !== 'UserErased' || isFaulty(event)) return
    for (const mark of [...(waiting.get(event.data.userId)?.values() ?? [])]) forget(mark)
  })

  return {
    move: (mark) => {
      const ofPerson = waiting.get(mark.userId) ?? new Map<string, Mark>()
      const before = ofPerson.get(mark.roomId)
      if (!before && size >= MAX_WAITING) return Promise.reject(new ApiError('BUSY'))
      if (!before) size++
      if (!before || before.seq < mark.seq) ofPerson.set(mark.roomId, mark)
      waiting.set(mark.userId, ofPerson)
      const {promise} = stored
      writing ??= writeAll()
      return promise
    },

    unstored: (userId) =>
      Object.fromEntries([...(waiting.get(userId)?.values() ?? [])].map(({roomId, seq}) => [roomId, seq])),

    stop: async () => {
      stopping.abort()
      await writing
      if (size > 0) await write()
    },
  }
}

/** Part of an erasure. */
export const deleteReadMarks = async (pool: Pool, userId: string): Promise<void> => {
  await pool.query('DELETE FROM state.read_marks WHERE user_id = $1', [userId])
}
