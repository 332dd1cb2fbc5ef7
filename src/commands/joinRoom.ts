import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideJoin, type RoomId} from '../domain/room.ts'
import type {Actor} from '../domain/user.ts'
import {roomFold, roomStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

export const joinRoom = async (
  {execute}: {execute: Execute},
  {by, roomId}: {by: Actor; roomId: RoomId},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{position: bigint} | Refusal> => {
  const joined = await execute.execute(
    roomStream(roomId),
    roomFold,
    {...context, name: 'joinRoom', actor: by.userId},
    (room) => decideJoin(room, by),
  )
  return isRefusal(joined) ? joined : {position: joined.position!}
}
