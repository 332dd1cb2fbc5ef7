import type {Socket} from 'socket.io'
import {z} from 'zod'
import {joinRoom} from '../commands/joinRoom.ts'
import {isRefusal} from '../domain/event.ts'
import {isMember, type RoomId} from '../domain/room.ts'
import {storable} from '../domain/text.ts'
import type {Person} from '../edge/callers.ts'
import {ApiError, refused} from '../edge/errors.ts'
import type {Parts} from '../edge/parts.ts'
import {Ok, RoomShape} from '../edge/shapes.ts'
import {type DocumentedEvent, readArgument} from '../edge/socketEvent.ts'
import {messageOf, messages} from '../projections/messages.ts'
import {roomMembers} from '../projections/roomMembers.ts'
import {findRoom, rooms} from '../projections/rooms.ts'
import {readChat} from '../streams/readChat.ts'
import {chatFold, chatStream, roomFold, roomStream} from '../streams/streams.ts'
import {caughtUp} from './backlog.ts'
import type {Delivery} from './delivery.ts'
import type {Reply, SocketEvent} from './sockets.ts'

const MAX_ROOMS = 1_000
const MAX_REPLAY = 1_000

const roomIdArgument = {name: 'roomId', shape: storable.max(100)}
const Options = z
  .object({
    since: z.int().min(-1).optional().describe('The newest `seq` that one has; -1: none, so everything is sent.'),
  })
  .nullish()
  .describe('May be left out.')
const optionsArgument = {name: 'options', shape: Options}

export const joinRoomDocumented: DocumentedEvent = {
  name: 'join_room',
  from: 'client',
  summary: 'Begins to receive what is said in a room',
  description: `One must be in the room; bots are added to it. With \`since\` every message after it is sent first, in order, then the
callback is called, then what is said from then on, with none lost and none twice. Where more than ${MAX_REPLAY} were missed the answer says
\`truncated\`: then what was missed is to be read over HTTP, up to \`seq\`. At most ${MAX_ROOMS} rooms a socket.`,
  args: [roomIdArgument, optionsArgument],
  answer: Ok.extend({
    room: RoomShape,
    seq: z.int().min(-1).describe('The `seq` of the newest message that was sent by now; -1: the room is empty.'),
    truncated: z.literal(true).optional(),
  }),
  errors: [
    'INVALID',
    'SINCE_UNKNOWN',
    'NOT_A_MEMBER',
    'NOT_FOUND',
    'ROOM_FULL',
    'RATE_LIMITED',
    'BUSY',
    'BEHIND',
    'UNAVAILABLE',
  ],
}

/**
 * `join_room`: first what was missed after `since`, then the callback, then live. The socket's queue is opened before the
 * newest seq is read, and let go past what was read, so that nothing falls in between and nothing comes twice.
 */
export const joinRoomEvent = (parts: Parts, delivery: Delivery): SocketEvent => {
  const {execute, tail, pool, applied, readMarks, metrics} = parts
  const inTurn = openTurns()

  const join = async (
    socket: Socket,
    by: Person,
    {roomId, since}: {roomId: RoomId; since: number | undefined},
    requestId: string,
    reply: Reply,
  ): Promise<void> => {
    const asOf = await admit(parts, by, roomId, requestId)
    if (!(await applied.reached([rooms, roomMembers, messages], asOf.position, 2_000))) throw new ApiError('BEHIND')
    const found = await findRoom(pool, {...by, unstored: readMarks.unstored(by.userId)}, roomId)
    if (!found) throw new ApiError('NOT_FOUND')
    const answer = (seq: number) => ({ok: true, room: {...found.room, lastSeq: seq}, seq})
    const isIn = delivery.isIn(socket, roomId)
    if (isIn && since === undefined) {
      const {state: chat} = await execute.load(chatStream(roomId), chatFold, {fresh: true})
      return reply(answer(chat.lastSeq))
    }
    if (!isIn && !by.isBot && delivery.roomsOf(socket) >= MAX_ROOMS) throw new ApiError('RATE_LIMITED')
    const joining = delivery.begin(socket, by.userId, roomId, asOf.revision)
    if (!joining) return
    let replayed = -1
    try {
      // Of a leave that the tail brought before the queue was there nothing is told any more.
      const {state: now} = await execute.load(roomStream(roomId), roomFold)
      if (!isMember(now, by.userId)) throw new ApiError('NOT_A_MEMBER')
      const {state: chat, position} = await execute.load(chatStream(roomId), chatFold, {fresh: true})
      const seq = chat.lastSeq
      if (since !== undefined && since > seq) throw new ApiError('SINCE_UNKNOWN')
      const missed = since === undefined ? 0 : seq - since
      const truncated = missed > MAX_REPLAY
      // What the log holds may still be on its way here: a leave that stands before these messages, and they themselves,
      // which must find the queue, which passes over them.
      if (position !== null && !(await tail.reached(position, 2_000))) throw new ApiError('BUSY')
      if (missed > 0 && !truncated) {
        for await (const message of readChat(parts, roomId, {after: since!, upTo: seq})) {
          await caughtUp(socket)
          if (joining.over) break
          socket.emit('message', messageOf(message))
          replayed = message.seq
          metrics.delivered(1)
        }
      }
      delivery.acknowledge(by.userId, position)
      const done = delivery.finish(roomId, joining, seq, () =>
        reply(truncated ? {...answer(seq), truncated} : answer(seq)),
      )
      if (!done) throw new ApiError(joining.over ? 'NOT_A_MEMBER' : 'BUSY')
    } catch (error) {
      delivery.abandon(roomId, joining, replayed)
      throw error
    }
  }

  return {
    name: 'join_room',
    command: 'joinRoom',
    handle: async (socket, by, args, requestId, reply) => {
      const roomId = readArgument(roomIdArgument, args[0])
      const since = readArgument(optionsArgument, args[1])?.since
      await inTurn(`${socket.id} ${roomId}`, () =>
        join(socket, by, {roomId: roomId as RoomId, since}, requestId, reply),
      )
    },
  }
}

/** Work under the same key runs one after the other: two joins of one socket to one room would undo each other. */
const openTurns = () => {
  const last = new Map<string, Promise<void>>()
  return async (key: string, work: () => Promise<void>): Promise<void> => {
    const mine = (last.get(key) ?? Promise.resolve()).catch(() => {}).then(work)
    last.set(key, mine)
    try {
      await mine
    } finally {
      if (last.get(key) === mine) last.delete(key)
    }
  }
}

/** Where the room's stream stands as this person is let in. Bots are added. A refusal is decided from the log. */
const admit = async (
  {execute, tail}: Parts,
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
