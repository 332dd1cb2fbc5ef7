import {z} from 'zod'
import {type EventOf, eventType} from './event.ts'
import {UserId} from './user.ts'

/** A person signed in. By `verification` or `reset`: with the link in that mail. */
export const SignedIn = eventType('SignedIn', {
  data: z.object({userId: UserId, by: z.enum(['password', 'verification', 'reset', 'discord', 'reddit'])}),
  plain: ['userId', 'by'],
})

/**
 * Somebody tried to sign in as this person. `refused` is the answer's code. `unwritten`: as many more since the last one
 * in the stream are not written down, because of {@link REFUSALS_PER_HOUR}.
 */
export const SignInFailed = eventType('SignInFailed', {
  data: z.object({
    userId: UserId,
    by: z.enum(['password', 'verification', 'reset']),
    refused: z.string(),
    at: z.iso.datetime(),
    unwritten: z.int().nonnegative(),
  }),
  plain: ['userId', 'by', 'refused', 'at'],
})

/** This person wanted something done, and was refused. What it was about is not told: it is what somebody typed. */
export const CommandRefused = eventType('CommandRefused', {
  data: z.object({
    userId: UserId,
    command: z.string(),
    refused: z.string(),
    at: z.iso.datetime(),
    unwritten: z.int().nonnegative(),
  }),
  plain: ['userId', 'command', 'refused', 'at'],
})

export type SignInMeans = EventOf<typeof SignedIn>['data']['by']
export type RefusalEvent = EventOf<typeof SignInFailed> | EventOf<typeof CommandRefused>
export type AccessEvent = EventOf<typeof SignedIn> | RefusalEvent

/** Of each kind and person: who guesses at a password must not hide what the person's own session is refused. */
export const REFUSALS_PER_HOUR = 20
const HOUR_MS = 3_600_000

/** When the newest refusals of each kind were, oldest first. */
export type Access = {readonly [kind in RefusalEvent['type']]: readonly string[]}

export const noAccess: Access = {SignInFailed: [], CommandRefused: []}

export const evolveAccess = (access: Access, event: AccessEvent): Access =>
  event.type === 'SignedIn'
    ? access
    : {...access, [event.type]: [...access[event.type], event.data.at].slice(-REFUSALS_PER_HOUR)}

/** Written down, or nothing: in the hour before it were as many as are written in one. */
export const decideRefusal = (access: Access, event: RefusalEvent): RefusalEvent[] => {
  const times = access[event.type]
  const hourBefore = new Date(Date.parse(event.data.at) - HOUR_MS).toISOString()
  return times.length === REFUSALS_PER_HOUR && times[0]! > hourBefore ? [] : [event]
}
