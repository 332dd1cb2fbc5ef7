import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideCreateRoom, type RoomId, type Visibility} from '../domain/room.ts'
import type {Actor} from '../domain/user.ts'
import {roomFold, roomStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/** `roomId` is new, or derived from an Idempotency-Key, as with posts. */
export const createRoom = async (
  {execute}: {execute: Execute},
  {by, roomId, name, visibility}: {by: Actor; roomId: RoomId; name: string; visibility: Visibility},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{position: bigint; time: string} | Refusal> => {
  const created = await execute.execute(
    roomStream(roomId),
    roomFold,
    {...context, name: 'createRoom', actor: by.userId},
    (room) => decideCreateRoom(room, roomId, by, {name, visibility}),
  )
  return isRefusal(created) ? created : {position: created.position!, time: created.time}
}
