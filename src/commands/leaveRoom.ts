import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideLeave, type RoomId} from '../domain/room.ts'
import type {Actor} from '../domain/user.ts'
import {roomFold, roomStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/** Leaves; for an invited person: declines. */
export const leaveRoom = async (
  {execute}: {execute: Execute},
  {by, roomId}: {by: Actor; roomId: RoomId},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{position: bigint} | Refusal> => {
  const left = await execute.execute(
    roomStream(roomId),
    roomFold,
    {...context, name: 'leaveRoom', actor: by.userId},
    (room) => decideLeave(room, by),
  )
  return isRefusal(left) ? left : {position: left.position!}
}
