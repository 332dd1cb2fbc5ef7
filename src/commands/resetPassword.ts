import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideClaim} from '../domain/identity.ts'
import {decideReset, isSomebody, type UserId} from '../domain/user.ts'
import {identityFold, identityStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/**
 * The link in the mail, with a new password. It proves the address, so it claims the identity where nobody has yet; that
 * comes first, and a crash before the password is set is completed by the same link. Whoever was signed in no longer is:
 * their sessions end before, so that a crash leaves none, and again after, for who signed in meanwhile.
 */
export const resetPassword = async (
  {
    execute,
    hashPassword,
    endSessions,
  }: {execute: Execute; hashPassword: () => Promise<string>; endSessions: (userId: UserId) => Promise<void>},
  {userId, tokenHash, now}: {userId: UserId; tokenHash: string; now: Date},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{userId: UserId; position: bigint; eventId: string | undefined} | Refusal> => {
  const as = {...context, name: 'resetPassword', actor: userId}
  const stream = userStream(userId)
  const by = {tokenHash, now: now.toISOString()}
  const {state: user} = await execute.load(stream, userFold, {fresh: true})
  // Hashing is dear: a token that is worth nothing does not get that far.
  const verdict = decideReset(user, {...by, passwordHash: ''})
  if (isRefusal(verdict)) return verdict
  if (!isSomebody(user)) throw new Error('a token of nobody was accepted')
  const passwordHash = await hashPassword()
  const claimed = await execute.execute(identityStream(user.identity), identityFold, as, (state) =>
    decideClaim(state, user.identity, userId),
  )
  if (isRefusal(claimed)) return claimed
  await endSessions(userId)
  const changed = await execute.execute(stream, userFold, {...as, causationId: claimed.eventId}, (state) =>
    decideReset(state, {...by, passwordHash}),
  )
  if (isRefusal(changed)) return changed
  await endSessions(userId)
  return {userId, position: changed.position!, eventId: changed.eventId}
}
