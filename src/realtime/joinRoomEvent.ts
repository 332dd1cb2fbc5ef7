import {z} from 'zod'
import {joinRoom} from '../commands/joinRoom.ts'
import {isRefusal} from '../domain/event.ts'
import {isMember, type RoomId} from '../domain/room.ts'
import {storable} from '../domain/text.ts'
import type {Person} from '../edge/callers.ts'
import {ApiError, invalid, refused} from '../edge/errors.ts'
import {roomBody} from '../edge/roomBody.ts'
import {messageOf, messages} from '../projections/messages.ts'
import {roomMembers} from '../projections/roomMembers.ts'
import {findRoom, rooms} from '../projections/rooms.ts'
import {readChat} from '../streams/readChat.ts'
import {chatFold, chatStream, roomFold, roomStream} from '../streams/streams.ts'
import type {Delivery} from './delivery.ts'
import type {SocketEvent, SocketParts} from './sockets.ts'

const MAX_ROOMS = 1_000
const MAX_REPLAY = 1_000

const Args = z.object({roomId: storable.max(100), since: z.int().min(-1).optional()})

/**
 * `join_room`: first what was missed after `since`, then the callback, then live. The socket's queue is opened before the
 * newest seq is read, and let go past what was read, so that nothing falls in between and nothing comes twice.
 */
export const joinRoomEvent = (parts: SocketParts, delivery: Delivery): SocketEvent => ({
  name: 'join_room',
  handle: async (socket, by, args, requestId, reply) => {
    const options = typeof args[1] === 'object' && args[1] !== null ? args[1] : {}
    const parsed = Args.safeParse({...options, roomId: args[0]})
    if (!parsed.success) throw invalid(parsed.error)
    const {since} = parsed.data
    const roomId = parsed.data.roomId as RoomId
    const {execute, pool, applied} = parts
    const asOf = await admit(parts, by, roomId, requestId)
    if (delivery.roomsOf(socket) >= MAX_ROOMS && !delivery.isIn(socket, roomId) && !by.isBot) {
      throw new ApiError('RATE_LIMITED')
    }
    if (!(await applied.reached([rooms, roomMembers, messages], asOf.position, 2_000))) throw new ApiError('BEHIND')
    const room = await findRoom(pool, by.userId, roomId)
    if (!room) throw new ApiError('NOT_FOUND')

    const alreadyIn = since === undefined && delivery.isIn(socket, roomId)
    const joining = alreadyIn ? null : delivery.begin(socket, by.userId, roomId, asOf.revision)
    if (!joining && !alreadyIn) return
    try {
      const {state: chat} = await execute.load(chatStream(roomId), chatFold, {fresh: true})
      const seq = chat.lastSeq
      const answer = {ok: true, room: {...roomBody({...room, isMember: true}), lastSeq: seq}, seq}
      if (!joining) return reply(answer)
      if (since !== undefined && since > seq) throw new ApiError('SINCE_UNKNOWN')
      const missed = since === undefined ? 0 : seq - since
      const truncated = missed > MAX_REPLAY
      if (missed > 0 && !truncated) {
        for await (const message of readChat(parts, roomId, {after: since!, upTo: seq})) {
          if (joining.over) break
          socket.emit('message', messageOf(message))
        }
      }
      const done = delivery.finish(roomId, joining, seq, () => reply(truncated ? {...answer, truncated} : answer))
      if (!done && socket.connected) throw new ApiError(joining.over ? 'NOT_A_MEMBER' : 'BUSY')
    } catch (error) {
      if (joining) delivery.abandon(roomId, joining)
      throw error
    }
  },
})

/** Where the room's stream stands as this person is let in. Bots are added. A refusal is decided from the log. */
const admit = async (
  {execute, tail}: SocketParts,
  by: Person,
  roomId: RoomId,
  requestId: string,
): Promise<{revision: number; position: bigint}> => {
  const stream = roomStream(roomId)
  const look = async (fresh: boolean) => {
    const {state, revision, position} = await execute.load(stream, roomFold, {fresh})
    return {exists: state.kind !== 'none', isIn: isMember(state, by.userId), at: {revision, position: position ?? 0n}}
  }
  const remembered = await look(false)
  if (remembered.isIn) return remembered.at
  if (by.isBot) {
    const joined = await joinRoom({execute}, {by, roomId}, {correlationId: requestId})
    if (isRefusal(joined)) throw refused(joined)
    await tail.reached(joined.position, 2_000)
    return (await look(true)).at
  }
  const now = await look(true)
  if (!now.exists) throw new ApiError('NOT_FOUND')
  if (!now.isIn) throw new ApiError('NOT_A_MEMBER')
  return now.at
}
