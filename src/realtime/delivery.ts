import type {Server, Socket} from 'socket.io'
import type {IdentityHash} from '../domain/identity.ts'
import type {RoomId} from '../domain/room.ts'
import type {Person} from '../edge/callers.ts'
import {isFaulty} from '../log/codec.ts'
import type {Tail, TailEvent} from '../log/tail.ts'
import {messageOf} from '../projections/messages.ts'
import {isTooSlow} from './backlog.ts'

/** What may arrive for a room while a join is catching up; past it the join fails and the client tries again. */
const MAX_QUEUED = 2_000
const ACKNOWLEDGED_PEOPLE = 10_000
/** So many broadcasts are made before each socket's backlog is looked at. */
const LOOK_EVERY = 100

type Outgoing = {name: 'message'; body: object; seq: number} | {name: 'room'; body: object}

/**
 * A socket's way into a room. `asOf`: the revision of the room's stream by which it was let in; an older leave must not
 * throw it out. While it catches up, what arrives waits in `queue`; then it is null and the socket is in the channel.
 * `again`: it was in the channel before.
 */
type Joining = {
  socket: Socket
  userId: string
  asOf: number
  queue: Outgoing[] | null
  over: boolean
  again: boolean
}

export type Delivery = ReturnType<typeof openDelivery>

const roomChannel = (roomId: string): string => `room:${roomId}`
const personChannel = (userId: string): string => `person:${userId}`
const identityChannel = (identity: IdentityHash | string): string => `identity:${identity}`
const BOTS = 'bots'
const EVERYBODY = 'everybody'

/**
 * Brings the tail's events to this node's sockets. Messages and memberships come from the one ordered tail, so nothing
 * positioned after a leave reaches the one who left. `nameOf`: a room's name, for an event that does not hold it;
 * `toUrl`: a stored attachment's URL.
 */
export const openDelivery = (
  io: Server,
  {
    tail,
    toUrl,
    nameOf,
    onDelivered,
    onTooSlow,
  }: {
    tail: Tail
    toUrl: (stored: string) => string
    nameOf: (roomId: RoomId) => Promise<string>
    /** So many sockets were given a message. */
    onDelivered: (sockets: number) => void
    onTooSlow: (userId: string) => void
  },
) => {
  const rooms = new Map<string, Map<string, Joining>>()
  const roomsOfSocket = new Map<string, Set<string>>()
  const socketsOfPerson = new Map<string, Set<string>>()
  /** The newest position that went to a channel with sockets in it. */
  const shown = new Map<string, bigint>()
  // The oldest goes first: whoever was acknowledged longest ago is surely shown by the tables by now.
  const acknowledged = new Map<string, bigint>()
  let broadcasts = 0

  const acknowledge = (userId: string, position: bigint | null): void => {
    if (position === null) return
    const before = acknowledged.get(userId)
    acknowledged.delete(userId)
    acknowledged.set(userId, before !== undefined && before > position ? before : position)
    if (acknowledged.size > ACKNOWLEDGED_PEOPLE) acknowledged.delete(acknowledged.keys().next().value!)
  }

  /** The newest position that a later read of this person must show. */
  const shownTo = (userId: string): bigint | null => {
    let newest = acknowledged.get(userId) ?? null
    const consider = (channel: string) => {
      const position = shown.get(channel)
      if (position !== undefined && (newest === null || position > newest)) newest = position
    }
    const sockets = socketsOfPerson.get(userId)
    if (!sockets) return newest
    for (const channel of [EVERYBODY, BOTS, personChannel(userId)]) consider(channel)
    for (const socketId of sockets) {
      for (const roomId of roomsOfSocket.get(socketId) ?? []) consider(roomChannel(roomId))
    }
    return newest
  }

  const leave = (roomId: string, joining: Joining) => {
    const {socket, userId} = joining
    acknowledge(userId, shown.get(roomChannel(roomId)) ?? null)
    joining.over = true
    joining.queue = null
    void socket.leave(roomChannel(roomId))
    rooms.get(roomId)?.delete(socket.id)
    if (rooms.get(roomId)?.size === 0) {
      rooms.delete(roomId)
      shown.delete(roomChannel(roomId))
    }
    roomsOfSocket.get(socket.id)?.delete(roomId)
  }

  const drop = (socket: Socket) => {
    onTooSlow((socket.data.person as Person).userId)
    // Not `disconnect`, after which a client would not come back by itself; and without waiting for what it won't read.
    socket.conn.close(true)
  }

  const dropTheSlow = () => {
    for (const socket of io.sockets.sockets.values()) if (isTooSlow(socket)) drop(socket)
  }

  const emit = (channels: string[], name: string, body: object) => {
    io.to(channels).emit(name, body)
    if (++broadcasts % LOOK_EVERY === 0) dropTheSlow()
  }

  const broadcast = (channels: string[], {name, body}: Outgoing | {name: 'post'; body: object}, position: bigint) => {
    for (const channel of channels) if (io.sockets.adapter.rooms.has(channel)) shown.set(channel, position)
    emit(channels, name, body)
  }

  /** To the room's sockets, those that are still catching up included, and to all sockets of the person, if one is named. */
  const toRoom = (roomId: string, outgoing: Outgoing, position: bigint, userId?: string) => {
    const inRoom = rooms.get(roomId)
    if (inRoom) shown.set(roomChannel(roomId), position)
    for (const {queue, userId: joiner} of inRoom?.values() ?? []) {
      if (queue && queue.length <= MAX_QUEUED && joiner !== userId) queue.push(outgoing)
    }
    if (outgoing.name === 'message') onDelivered(io.sockets.adapter.rooms.get(roomChannel(roomId))?.size ?? 0)
    const channels = userId === undefined ? [roomChannel(roomId)] : [roomChannel(roomId), personChannel(userId)]
    broadcast(channels, outgoing, position)
  }

  /** The name is not in the event; it is looked up only where there is somebody to tell. */
  const tellInvited = async ({data, position}: Extract<TailEvent, {type: 'UserInvited'; data: object}>) => {
    const channel = identityChannel(data.invitee)
    if (!io.sockets.adapter.rooms.has(channel)) return
    const roomName = await nameOf(data.roomId)
    const by = {userId: data.inviterId, username: data.inviterName}
    for (const socketId of io.sockets.adapter.rooms.get(channel) ?? []) {
      const person: Person | undefined = io.sockets.sockets.get(socketId)?.data.person
      if (person) acknowledge(person.userId, position)
    }
    io.to(channel).emit('room', {roomId: data.roomId, kind: 'invited', roomName, by})
  }

  const deliver = (event: TailEvent): void => {
    if (isFaulty(event)) return
    const {position} = event
    switch (event.type) {
      case 'MessageSent': {
        const {roomId, seq} = event.data
        if (rooms.has(roomId)) toRoom(roomId, {name: 'message', body: messageOf(event.data), seq}, position)
        return
      }
      case 'UserJoined': {
        const {roomId, userId, username} = event.data
        toRoom(roomId, {name: 'room', body: {roomId, kind: 'joined', userId, username}}, position, userId)
        return
      }
      case 'UserLeft': {
        const {roomId, userId, username} = event.data
        toRoom(roomId, {name: 'room', body: {roomId, kind: 'left', userId, username}}, position, userId)
        for (const joining of [...(rooms.get(roomId)?.values() ?? [])]) {
          if (joining.userId === userId && joining.asOf < event.revision) leave(roomId, joining)
        }
        return
      }
      case 'UserInvited':
        // Who is not told sees it in the list of invitations.
        if (event.data.standing === 'new') tellInvited(event).catch(() => {})
        return
      case 'RoomCreated': {
        const {roomId, name: roomName, visibility, creatorId} = event.data
        const body = {roomId, kind: 'created', roomName, visibility, by: {userId: creatorId}}
        broadcast([BOTS], {name: 'room', body}, position)
        return
      }
      case 'PostCreated': {
        const {postId: id, authorId: author_id, authorName: author_name, title, body} = event.data
        const attachments = event.data.attachments.map(toUrl)
        const post = {id, author_id, author_name, title, body, attachments, created_at: event.metadata.time}
        broadcast([EVERYBODY], {name: 'post', body: post}, position)
      }
    }
  }
  tail.listen(deliver)

  /** Replies, hands over what waited past `seq` and lets the socket into the channel, in one turn. False: it may not any more. */
  const finish = (roomId: string, joining: Joining, seq: number, reply: () => void): boolean => {
    const {socket, queue} = joining
    if (joining.over || !queue || queue.length > MAX_QUEUED) return false
    reply()
    for (const outgoing of queue) {
      if (outgoing.name === 'message' && outgoing.seq <= seq) continue
      socket.emit(outgoing.name, outgoing.body)
      if (outgoing.name === 'message') onDelivered(1)
    }
    joining.queue = null
    void socket.join(roomChannel(roomId))
    return true
  }

  return {
    /** Counts a socket as this person's; null where that would be one too many. Gives back how to forget it, once it is gone. */
    admit: (socket: Socket, {userId, isBot}: Person, max: number): (() => void) | null => {
      const sockets = socketsOfPerson.get(userId) ?? new Set()
      if (sockets.size >= max && !isBot) return null
      socketsOfPerson.set(userId, sockets.add(socket.id))
      return () => {
        acknowledge(userId, shownTo(userId))
        for (const roomId of [...(roomsOfSocket.get(socket.id) ?? [])]) {
          const joining = rooms.get(roomId)?.get(socket.id)
          if (joining) leave(roomId, joining)
        }
        roomsOfSocket.delete(socket.id)
        sockets.delete(socket.id)
        if (sockets.size > 0 || socketsOfPerson.get(userId) !== sockets) return
        socketsOfPerson.delete(userId)
        shown.delete(personChannel(userId))
      }
    },

    connected: (socket: Socket, {userId, isBot, identity}: Person): void => {
      void socket.join([
        EVERYBODY,
        personChannel(userId),
        ...(isBot ? [BOTS] : []),
        ...(identity === null ? [] : [identityChannel(identity)]),
      ])
      // Events up to here went out without this socket, so what it reads from now on must show them.
      acknowledge(userId, tail.position())
    },

    roomsOf: (socket: Socket): number => roomsOfSocket.get(socket.id)?.size ?? 0,
    isIn: (socket: Socket, roomId: string): boolean => rooms.get(roomId)?.get(socket.id)?.queue === null,

    /** From here on what arrives for the room waits for this socket. */
    begin: (socket: Socket, userId: string, roomId: string, asOf: number): Joining | null => {
      if (!socket.connected) return null
      const before = rooms.get(roomId)?.get(socket.id)
      if (before) leave(roomId, before)
      const joining: Joining = {socket, userId, asOf, queue: [], over: false, again: before !== undefined}
      const inRoom = rooms.get(roomId) ?? new Map<string, Joining>()
      rooms.set(roomId, inRoom.set(socket.id, joining))
      roomsOfSocket.set(socket.id, (roomsOfSocket.get(socket.id) ?? new Set()).add(roomId))
      return joining
    },

    finish,

    /** As if it had not been tried: a socket that was in the channel goes on there, past what it was sent up to `seq`. */
    abandon: (roomId: string, joining: Joining, seq: number): void => {
      if (joining.over) return
      if (!joining.again) leave(roomId, joining)
      // More came than could wait for it: it must not go on with a gap.
      else if (!finish(roomId, joining, seq, () => {})) drop(joining.socket)
    },

    hasRooms: (): boolean => rooms.size > 0,
    /** What is not of the log: to the sockets in any of these rooms, each once. At least one room. */
    tellRooms: (roomIds: readonly string[], name: string, body: object): void =>
      emit(roomIds.map(roomChannel), name, body),

    acknowledge,
    shownTo,
  }
}
