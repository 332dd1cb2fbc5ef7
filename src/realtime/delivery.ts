import type {Server, Socket} from 'socket.io'
import type {Message as SentMessage} from '../domain/chat.ts'
import {isFaulty} from '../log/codec.ts'
import type {Tail, TailEvent} from '../log/tail.ts'
import {messageOf} from '../projections/messages.ts'

/** Messages that may arrive while a join is catching up; past it the join fails and the client tries again. */
const MAX_QUEUED = 5_000
const ACKNOWLEDGED_PEOPLE = 10_000

/**
 * A socket's way into a room. `asOf`: the revision of the room's stream by which it was let in; an older leave must not
 * throw it out. While it catches up, what arrives waits in `queue`; then it is null and the socket is in the channel.
 */
type Joining = {socket: Socket; userId: string; asOf: number; queue: SentMessage[] | null; over: boolean}

export type Delivery = ReturnType<typeof openDelivery>

const channelOf = (roomId: string): string => `room:${roomId}`
const personChannel = (userId: string): string => `person:${userId}`
const BOTS = 'bots'

/**
 * Brings the tail's events to this node's sockets. Messages and memberships come from the one ordered tail, so nothing
 * positioned after a leave reaches the one who left.
 */
export const openDelivery = (io: Server, tail: Tail) => {
  const rooms = new Map<string, Map<string, Joining>>()
  const roomsOfSocket = new Map<string, Set<string>>()
  const socketsOfPerson = new Map<string, Set<string>>()
  const shownInRoom = new Map<string, bigint>()
  // The oldest goes first: whoever was acknowledged longest ago is surely shown by the tables by now.
  const acknowledged = new Map<string, bigint>()
  let shownToAll: bigint | null = null

  const leave = (roomId: string, joining: Joining) => {
    joining.over = true
    joining.queue = null
    void joining.socket.leave(channelOf(roomId))
    rooms.get(roomId)?.delete(joining.socket.id)
    if (rooms.get(roomId)?.size === 0) {
      rooms.delete(roomId)
      shownInRoom.delete(roomId)
    }
    roomsOfSocket.get(joining.socket.id)?.delete(roomId)
  }

  const deliver = (event: TailEvent): void => {
    if (isFaulty(event)) return
    switch (event.type) {
      case 'MessageSent': {
        const {roomId} = event.data
        const joined = rooms.get(roomId)
        if (!joined) return
        for (const {queue} of joined.values()) if (queue && queue.length <= MAX_QUEUED) queue.push(event.data)
        shownInRoom.set(roomId, event.position)
        io.to(channelOf(roomId)).emit('message', messageOf(event.data))
        return
      }
      case 'UserJoined': {
        const {roomId, userId, username} = event.data
        io.to([channelOf(roomId), personChannel(userId)]).emit('room', {roomId, kind: 'joined', userId, username})
        return
      }
      case 'UserLeft': {
        const {roomId, userId, username} = event.data
        io.to([channelOf(roomId), personChannel(userId)]).emit('room', {roomId, kind: 'left', userId, username})
        for (const joining of [...(rooms.get(roomId)?.values() ?? [])]) {
          if (joining.userId === userId && joining.asOf < event.revision) leave(roomId, joining)
        }
        return
      }
      case 'RoomCreated': {
        const {roomId, name, visibility, creatorId} = event.data
        io.to(BOTS).emit('room', {kind: 'created', roomId, roomName: name, visibility, by: {userId: creatorId}})
        return
      }
      case 'PostCreated': {
        const {postId, authorId, authorName, title, body, attachments} = event.data
        const created_at = event.metadata.time
        io.emit('post', {
          id: postId,
          author_id: authorId,
          author_name: authorName,
          title,
          body,
          attachments,
          created_at,
        })
        shownToAll = event.position
      }
    }
  }
  tail.listen(deliver)

  return {
    connected: (socket: Socket, userId: string): void => {
      const {isBot} = socket.data.person
      void socket.join(isBot ? [personChannel(userId), BOTS] : personChannel(userId))
      const sockets = socketsOfPerson.get(userId) ?? new Set()
      socketsOfPerson.set(userId, sockets.add(socket.id))
      roomsOfSocket.set(socket.id, new Set())
      socket.on('disconnect', () => {
        for (const roomId of [...(roomsOfSocket.get(socket.id) ?? [])]) {
          const joining = rooms.get(roomId)?.get(socket.id)
          if (joining) leave(roomId, joining)
        }
        roomsOfSocket.delete(socket.id)
        sockets.delete(socket.id)
        if (sockets.size === 0) socketsOfPerson.delete(userId)
      })
    },

    socketsOf: (userId: string): number => socketsOfPerson.get(userId)?.size ?? 0,
    roomsOf: (socket: Socket): number => roomsOfSocket.get(socket.id)?.size ?? 0,
    isIn: (socket: Socket, roomId: string): boolean => rooms.get(roomId)?.get(socket.id)?.queue === null,

    /** From here on what arrives for the room waits for this socket. A join that was under way is over. */
    begin: (socket: Socket, userId: string, roomId: string, asOf: number): Joining | null => {
      const ofSocket = roomsOfSocket.get(socket.id)
      if (!ofSocket) return null
      const before = rooms.get(roomId)?.get(socket.id)
      if (before) leave(roomId, before)
      const joining: Joining = {socket, userId, asOf, queue: [], over: false}
      const inRoom = rooms.get(roomId) ?? new Map<string, Joining>()
      rooms.set(roomId, inRoom.set(socket.id, joining))
      ofSocket.add(roomId)
      return joining
    },

    /** Hands over what waited past `seq` and lets the socket into the channel, in one turn. False: it may not any more. */
    finish: (roomId: string, joining: Joining, seq: number, reply: () => void): boolean => {
      const {socket, queue} = joining
      if (joining.over || !queue || queue.length > MAX_QUEUED) {
        if (!joining.over) leave(roomId, joining)
        return false
      }
      reply()
      for (const message of queue) if (message.seq > seq) socket.emit('message', messageOf(message))
      joining.queue = null
      void socket.join(channelOf(roomId))
      return true
    },

    abandon: (roomId: string, joining: Joining): void => {
      if (!joining.over) leave(roomId, joining)
    },

    acknowledge: (userId: string, position: bigint): void => {
      acknowledged.delete(userId)
      acknowledged.set(userId, position)
      if (acknowledged.size > ACKNOWLEDGED_PEOPLE) acknowledged.delete(acknowledged.keys().next().value!)
    },

    /** The newest position that a later read of this person must show. */
    shownTo: (userId: string): bigint | null => {
      let newest = acknowledged.get(userId) ?? null
      const consider = (position: bigint | null | undefined) => {
        if (position !== null && position !== undefined && (newest === null || position > newest)) newest = position
      }
      const sockets = socketsOfPerson.get(userId)
      if (!sockets) return newest
      consider(shownToAll)
      for (const socketId of sockets) {
        for (const roomId of roomsOfSocket.get(socketId) ?? []) consider(shownInRoom.get(roomId))
      }
      return newest
    },
  }
}
