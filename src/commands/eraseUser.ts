import {isRefusal, type Refusal, refusal} from '../domain/event.ts'
import {decideRelease, type IdentityHash} from '../domain/identity.ts'
import {decideLeave, type RoomId} from '../domain/room.ts'
import {decideDropAttempt, decideErase, isSomebody, type UserId} from '../domain/user.ts'
import type {PersonKeys} from '../keys/personKeys.ts'
import {identityFold, identityStream, roomFold, roomStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

export type Erasure = {
  execute: Execute
  personKeys: Pick<PersonKeys, 'destroy' | 'markErased'>
  /** Rooms that the person is in, or that whoever owns the identity is invited to, as of the newest event. */
  roomsOf(userId: UserId, identity: IdentityHash): Promise<RoomId[]>
  /** Registration attempts for an identity that this person owns, as of the newest event. */
  attemptsBeside(userId: UserId, identity: IdentityHash): Promise<UserId[]>
  /** Signs the person out everywhere. */
  endSessions(userId: UserId): Promise<void>
  /** Removes the person's files. */
  deleteUploads(userId: UserId): Promise<void>
  /** Removes mails to the person that wait to be sent. */
  deleteMails(userId: UserId): Promise<void>
  /** Drops the tables of earlier times that an auditor made: they may hold the person. */
  dropReplays(): Promise<void>
}

/** Erases a person, or a registration attempt. It can't be undone, and what a crash leaves undone the next run does. */
export const eraseUser = async (
  erasure: Erasure,
  userId: UserId,
  context: Omit<CommandContext, 'name'>,
): Promise<{position: bigint} | Refusal> => {
  const {state: user} = await erasure.execute.load(userStream(userId), userFold, {fresh: true})
  if (user.kind === 'none') return refusal({refused: 'NOT_FOUND'})
  return {position: await finishErasure(erasure, userId, {...context, name: 'eraseUser'})}
}

/**
 * Erases a registration attempt that can come to nothing. Here the event decides, because its link may be sent again
 * meanwhile; nothing personal can follow it in the log, as an attempt is nobody who could write.
 */
export const eraseAttempt = async (
  erasure: Erasure,
  userId: UserId,
  now: Date,
  context: CommandContext,
): Promise<void> => {
  const {execute} = erasure
  const {state: user} = await execute.load(userStream(userId), userFold, {fresh: true})
  if (!isSomebody(user)) return
  const {state: owner} = await execute.load(identityStream(user.identity), identityFold, {fresh: true})
  if (owner.kind === 'claimed' && owner.userId === userId) return
  const isLost = owner.kind === 'claimed'
  const dropped = await execute.execute(userStream(userId), userFold, context, (state) =>
    decideDropAttempt(state, {isLost, now: now.toISOString()}),
  )
  if (!isRefusal(dropped) && dropped.state.kind === 'erased')
    await finishErasure(erasure, userId, {...context, causationId: dropped.eventId ?? context.causationId})
}

/**
 * Each step can be done any number of times. The key goes first: it is gone before the event is there, so that whoever
 * reads what came after the event finds none, on any node and whatever crashed. Gives the newest position of it.
 */
export const finishErasure = async (erasure: Erasure, userId: UserId, context: CommandContext): Promise<bigint> => {
  const {execute, personKeys, roomsOf, attemptsBeside, endSessions, deleteUploads, deleteMails, dropReplays} = erasure
  await personKeys.destroy(userId)
  const erased = await execute.execute(userStream(userId), userFold, context, decideErase)
  if (isRefusal(erased) || erased.state.kind !== 'erased') throw new Error(`${userId} is not there to be erased`)
  const {identity} = erased.state
  const because = {...context, causationId: erased.eventId ?? context.causationId}
  await endSessions(userId)
  const {state: owner} = await execute.load(identityStream(identity), identityFold, {fresh: true})
  // Invitations are the identity's: of an attempt, or once it is released, they are somebody else's.
  if (owner.kind === 'claimed' && owner.userId === userId) {
    const as = {userId, username: '', isBot: false, identity}
    for (const roomId of await roomsOf(userId, identity)) {
      await execute.execute(roomStream(roomId), roomFold, because, (room) => {
        const decision = decideLeave(room, as)
        return isRefusal(decision) ? [] : decision
      })
    }
    // Of who signed in meanwhile.
    await endSessions(userId)
    // Their links died when this person claimed the identity, and must not come to life when it is free again.
    for (const attempt of await attemptsBeside(userId, identity)) {
      await eraseAttempt(erasure, attempt, new Date(), because)
    }
  }
  await deleteUploads(userId)
  await deleteMails(userId)
  await execute.execute(identityStream(identity), identityFold, because, (state) =>
    decideRelease(state, identity, userId),
  )
  await dropReplays()
  await personKeys.markErased(userId)
  return erased.position!
}
