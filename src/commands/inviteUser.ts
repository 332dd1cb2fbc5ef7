import {createHash} from 'node:crypto'
import {isRefusal, type Refusal} from '../domain/event.ts'
import type {IdentityHash} from '../domain/identity.ts'
import {decideInvite, inviteeOf, type RoomId} from '../domain/room.ts'
import {type Actor, isSomebody, type UserId} from '../domain/user.ts'
import {identityFold, identityStream, roomFold, roomStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/** As the inviter named the person: by an id seen somewhere, or by an identity that somebody may own, now or later. */
export type Named = {userId: UserId} | {identity: IdentityHash}

/**
 * An invitation is always for an identity, so that one person has one invitation however named, and so that it passes to
 * whoever claims the identity. The answer is the same whether or not anybody has.
 */
export const inviteUser = async (
  {execute}: {execute: Execute},
  {by, roomId, whom}: {by: Actor; roomId: RoomId; whom: Named},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{position: bigint} | Refusal> => {
  const person = await resolve(execute, whom)
  const invited = await execute.execute(
    roomStream(roomId),
    roomFold,
    {...context, name: 'inviteUser', actor: by.userId},
    (room) => decideInvite(room, by, person),
  )
  return isRefusal(invited) ? invited : {position: invited.position!}
}

const resolve = async (execute: Execute, whom: Named) => {
  if ('identity' in whom) {
    const {state} = await execute.load(identityStream(whom.identity), identityFold, {fresh: true})
    const userId = state.kind === 'claimed' ? state.userId : null
    return {named: whom.identity, invitee: inviteeOf(whom.identity), userId}
  }
  const {userId} = whom
  const {state} = await execute.load(userStream(userId), userFold, {fresh: true})
  return {named: userId, invitee: isSomebody(state) ? inviteeOf(state.identity) : inviteeOfNobody(userId), userId}
}

/** As long as that of somebody: an event's size can be told from positions. */
const inviteeOfNobody = (userId: UserId) => inviteeOf(createHash('sha256').update(userId).digest('hex'))
