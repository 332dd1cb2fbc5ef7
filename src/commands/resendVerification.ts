import {randomUUID} from 'node:crypto'
import {isRefusal, type Refusal} from '../domain/event.ts'
import type {IdentityHash} from '../domain/identity.ts'
import {decideRequestVerification, type UserId} from '../domain/user.ts'
import {tokenFor} from '../keys/token.ts'
import {identityFold, identityStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'
import {type Registration, registerUser, type SendLink, VERIFICATION_HOURS} from './registerUser.ts'

/**
 * Sends the newest attempt that this session made or tried to log in to; without one, the only open attempt; where there are
 * several, nobody can tell whose password is the owner's: the link verifies and signs in, but sets none. Where there is
 * nothing to verify nothing happens, and the caller learns no difference.
 */
export const resendVerification = async (
  deps: Parameters<typeof registerUser>[0] & {
    openAttempts: (identity: IdentityHash) => Promise<{userId: UserId}[]>
    newUsername: () => string
  },
  {email, attempts}: {email: string; attempts: readonly UserId[]},
  context: Omit<CommandContext, 'name'>,
): Promise<{position: bigint | null} | Refusal> => {
  const {execute, keys, newUsername} = deps
  const identity = keys.identityHash('email', email)
  const {state: owner} = await execute.load(identityStream(identity), identityFold, {fresh: true})
  if (owner.kind === 'claimed') return {position: null}
  const chosen = await attemptMeant(deps, identity, attempts)
  if (chosen === null) return {position: null}
  if (chosen === 'several') {
    const nobodys: Registration = {email, passwordHash: null, username: newUsername()}
    return registerUser(deps, nobodys, context)
  }
  return sendAgain(deps, {email, userId: chosen}, context)
}

/** Which open attempt for an address is meant: this session's own (newest first), or the only one. */
export const attemptMeant = async (
  {execute, openAttempts}: {execute: Execute; openAttempts: (identity: IdentityHash) => Promise<{userId: UserId}[]>},
  identity: IdentityHash,
  own: readonly UserId[],
): Promise<UserId | 'several' | null> => {
  const open = await openAttempts(identity)
  for (const userId of own) if (await isAttemptFor(execute, userId, identity)) return userId
  return open.length > 1 ? 'several' : (open[0]?.userId ?? null)
}

const isAttemptFor = async (execute: Execute, userId: UserId, identity: IdentityHash): Promise<boolean> => {
  const {state} = await execute.load(userStream(userId), userFold, {fresh: true})
  return state.kind === 'attempt' && state.identity === identity
}

const sendAgain = async (
  {execute, mail}: {execute: Execute; mail: SendLink},
  {email, userId}: {email: string; userId: UserId},
  context: Omit<CommandContext, 'name'>,
): Promise<{position: bigint | null} | Refusal> => {
  const stream = userStream(userId)
  const {state: user} = await execute.load(stream, userFold)
  if (user.kind !== 'attempt') return {position: null}
  const askedAt = new Date()
  const token = tokenFor(userId, new Date(askedAt.getTime() + VERIFICATION_HOURS * 3_600_000))
  const eventId = randomUUID()
  await mail.enqueue({to: email, username: user.username, askedAt, token, awaits: {stream, eventId}})
  const requested = await execute.execute(
    stream,
    userFold,
    {...context, name: 'resendVerification'},
    (state) => decideRequestVerification(state, token),
    {firstEventId: eventId},
  )
  if (isRefusal(requested)) return requested
  if (requested.events.length > 0) await mail.release(eventId)
  return {position: requested.position}
}
