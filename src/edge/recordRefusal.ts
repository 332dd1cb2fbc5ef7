import type {CommandContext, Execute} from '../commands/execute.ts'
import {decideRefusal, type RefusalEvent} from '../domain/access.ts'
import {isRefusal} from '../domain/event.ts'
import {isSomebody, type UserId} from '../domain/user.ts'
import {accessFold, accessStream, userFold, userStream} from '../streams/streams.ts'

/** Counts what is not written down, for all nodes and over restarts, until the next refusal that is written tells it. */
export type Unwritten = {
  add(userId: UserId, kind: RefusalEvent['type'], count: number): Promise<void>
  /** How many there are; from now on none. */
  take(userId: UserId, kind: RefusalEvent['type']): Promise<number>
}

/** What is to be written down: the event without when it was, and how many came before it. */
export type Refused<E = RefusalEvent> = E extends RefusalEvent
  ? {type: E['type']; data: Omit<E['data'], 'at' | 'unwritten'>}
  : never

/**
 * Writes down that somebody was refused, or counts it where enough of the kind are written in the hour. Of who is not
 * known nothing is: no stream begins for a guess.
 */
export const recordRefusal = async (
  {execute, unwritten}: {execute: Execute; unwritten: Unwritten},
  {type, data}: Refused,
  now: Date,
  context: CommandContext,
): Promise<void> => {
  const {userId} = data
  if (!isSomebody((await execute.load(userStream(userId), userFold)).state)) return
  const stream = accessStream(userId)
  const event = (count: number) => ({type, data: {...data, at: now.toISOString(), unwritten: count}}) as RefusalEvent
  // Who is refused all the time costs no look at the log.
  const {state} = await execute.load(stream, accessFold)
  if (decideRefusal(state, event(0)).length === 0) return unwritten.add(userId, type, 1)
  const count = await unwritten.take(userId, type)
  let isWritten = false
  try {
    const written = await execute.execute(stream, accessFold, context, (access) => decideRefusal(access, event(count)))
    isWritten = !isRefusal(written) && written.events.length > 0
  } finally {
    if (!isWritten) await unwritten.add(userId, type, count + 1)
  }
}
