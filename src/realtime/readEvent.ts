import {z} from 'zod'
import {isMember, type RoomId} from '../domain/room.ts'
import {storable} from '../domain/text.ts'
import type {Person} from '../edge/callers.ts'
import {ApiError} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import {Ok} from '../edge/shapes.ts'
import {type DocumentedEvent, readArgument} from '../edge/socketEvent.ts'
import {chatFold, chatStream, roomFold, roomStream} from '../streams/streams.ts'
import type {SocketEvent} from './sockets.ts'

const Payload = z.object({
  roomId: storable.max(100),
  seq: z.int().min(-1).describe('The `seq` of the newest message that was read.'),
})

const argument = {name: 'mark', shape: Payload}

export const readDocumented: DocumentedEvent = {
  name: 'read',
  from: 'client',
  summary: "Says how far one has read: moves the room's `readSeq`",
  description:
    'Forward only: an older `seq` changes nothing. One must be in the room; `join_room` is not needed. To send a message does not move it. The callback, which may be left out, is called once the mark is stored.',
  args: [argument],
  answer: Ok,
  errors: ['INVALID', 'SINCE_UNKNOWN', 'NOT_A_MEMBER', 'NOT_FOUND', 'RATE_LIMITED', 'BUSY', 'UNAVAILABLE'],
}

/** `read`: moves the person's mark in a room, never back and never past the newest message. */
export const readEvent = (parts: Parts): SocketEvent => ({
  name: 'read',
  command: 'moveReadMark',
  handle: async (_socket, by, args, _requestId, reply) => {
    const {roomId, seq} = readArgument(argument, args[0])
    const wrong =
      (await whatForbids(parts, by, roomId as RoomId, seq, false)) &&
      (await whatForbids(parts, by, roomId as RoomId, seq, true))
    if (wrong) throw new ApiError(wrong)
    if (seq >= 0) await parts.readMarks.move({userId: by.userId, roomId, seq})
    reply({ok: true})
  },
})

/** Remembered state is enough for a yes; a no is given from the log only. */
const whatForbids = async ({execute}: Parts, by: Person, roomId: RoomId, seq: number, fresh: boolean) => {
  const {state: room} = await execute.load(roomStream(roomId), roomFold, {fresh})
  if (room.kind === 'none') return 'NOT_FOUND'
  if (!isMember(room, by.userId) && !by.isBot) return 'NOT_A_MEMBER'
  const {state: chat} = await execute.load(chatStream(roomId), chatFold, {fresh})
  return seq > chat.lastSeq ? 'SINCE_UNKNOWN' : null
}
