import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideRelease, type IdentityHash} from '../domain/identity.ts'
import {decideLeave, type RoomId} from '../domain/room.ts'
import {decideErase, type UserId} from '../domain/user.ts'
import type {PersonKeys} from '../keys/personKeys.ts'
import {identityFold, identityStream, roomFold, roomStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

export type Erasure = {
  execute: Execute
  personKeys: Pick<PersonKeys, 'destroy'>
  /** Rooms that the person is in or invited to, as of the newest event. */
  roomsOf(userId: UserId, identity: IdentityHash): Promise<RoomId[]>
  /** Signs the person out everywhere. */
  endSessions(userId: UserId): Promise<void>
  /** Removes the person's files. */
  deleteUploads(userId: UserId): Promise<void>
  /** Removes mails to the person that wait to be sent. */
  deleteMails(userId: UserId): Promise<void>
}

/**
 * Erases a person, or a registration attempt that came to nothing. The event decides; what follows from it can be done
 * any number of times, and its last step is the destroyed key, so whatever a crash left undone is seen by the key that is
 * still there.
 */
export const eraseUser = async (
  erasure: Erasure,
  userId: UserId,
  context: Omit<CommandContext, 'name'>,
): Promise<{position: bigint} | Refusal> => {
  const as = {...context, name: 'eraseUser'}
  const erased = await erasure.execute.execute(userStream(userId), userFold, as, decideErase)
  if (isRefusal(erased)) return erased
  await finishErasure(erasure, userId, as)
  return {position: erased.position!}
}

/** Everything that follows from the event that a person is erased. */
export const finishErasure = async (
  {execute, personKeys, roomsOf, endSessions, deleteUploads, deleteMails}: Erasure,
  userId: UserId,
  context: CommandContext,
): Promise<void> => {
  const {state: user} = await execute.load(userStream(userId), userFold, {fresh: true})
  if (user.kind !== 'erased') return
  const {identity} = user
  await endSessions(userId)
  // A name is needed to say who left; nobody can read it any more.
  const as = {userId, username: '', isBot: false, identity}
  for (const roomId of await roomsOf(userId, identity)) {
    await execute.execute(roomStream(roomId), roomFold, context, (room) => {
      const decision = decideLeave(room, as)
      return isRefusal(decision) ? [] : decision
    })
  }
  await deleteUploads(userId)
  await deleteMails(userId)
  await execute.execute(identityStream(identity), identityFold, context, (state) =>
    decideRelease(state, identity, userId),
  )
  await personKeys.destroy(userId)
}
