import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideClaim} from '../domain/identity.ts'
import {decideVerify, isSomebody, type UserId} from '../domain/user.ts'
import {identityFold, identityStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/**
 * The link in the mail. Claiming the identity decides between several attempts for one address; marking the token used
 * comes after. A crash between the two is completed by the next click, which finds the identity claimed by this attempt.
 */
export const verifyEmail = async (
  {execute}: {execute: Execute},
  {userId, tokenHash, now}: {userId: UserId; tokenHash: string; now: Date},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{userId: UserId; position: bigint; eventId: string | undefined} | Refusal> => {
  const as = {...context, name: 'verifyEmail', actor: userId}
  const stream = userStream(userId)
  const {state: user} = await execute.load(stream, userFold, {fresh: true})
  const verdict = decideVerify(user, tokenHash, now.toISOString())
  if (isRefusal(verdict)) return verdict
  if (!isSomebody(user)) throw new Error('a token of nobody was accepted')
  const {identity} = user
  const claimed = await execute.execute(identityStream(identity), identityFold, as, (state) =>
    decideClaim(state, identity, userId),
  )
  if (isRefusal(claimed)) return claimed
  const verified = await execute.execute(stream, userFold, {...as, causationId: claimed.eventId}, (state) =>
    decideVerify(state, tokenHash, now.toISOString()),
  )
  if (isRefusal(verified)) return verified
  return {userId, position: verified.position!, eventId: verified.eventId}
}
