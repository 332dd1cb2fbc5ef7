import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideCreateRoom, type RoomId, type Visibility} from '../domain/room.ts'
import type {Actor} from '../domain/user.ts'
import type {BeganAt} from '../streams/beganAt.ts'
import {roomFold, roomStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/** `roomId` is new, or derived from an Idempotency-Key, as with posts. */
export const createRoom = async (
  {execute, beganAt}: {execute: Execute; beganAt: BeganAt},
  {by, roomId, name, visibility}: {by: Actor; roomId: RoomId; name: string; visibility: Visibility},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{position: bigint; time: string} | Refusal> => {
  const created = await execute.execute(
    roomStream(roomId),
    roomFold,
    {...context, name: 'createRoom', actor: by.userId},
    (room) => decideCreateRoom(room, roomId, by, {name, visibility}),
    {begins: true},
  )
  if (isRefusal(created)) return created
  const time = created.events.length > 0 ? created.time : await beganAt(roomStream(roomId))
  return {position: created.position!, time}
}
