import {ask, type Failure, nextPage, toFailure} from '../api.ts'
import type {Invitation, Message, Room} from '../contract.ts'
import {notify} from '../notices.ts'
import {session} from '../session.ts'
import {createStore} from '../store.ts'
import {emit, onConnected, onLive, tell} from './live.ts'

/** Rooms whose messages are followed while they are not open: counts of older ones are as of the last load. */
export const FOLLOWED = 50
const MAX_PAGES = 4

export type MyRooms = {
  status: 'loading' | 'ready' | 'failed'
  failure: Failure | null
  rooms: Room[]
  invitations: Invitation[]
}

const NOTHING: MyRooms = {status: 'loading', failure: null, rooms: [], invitations: []}

/** The rooms I am in, the one with the newest message first, and what I am invited to. */
export const myRooms = createStore<MyRooms>(NOTHING)

const lastActivity = (room: Room): number => Date.parse(room.lastMessage?.createdAt ?? room.createdAt)
const byActivity = (rooms: Room[]): Room[] => [...rooms].sort((one, other) => lastActivity(other) - lastActivity(one))

export const unread = ({lastSeq, readSeq}: Room): number => Math.max(0, lastSeq - (readSeq ?? lastSeq))

export const loadRooms = async (): Promise<void> => {
  if (session.get().status !== 'in') return
  try {
    const rooms: Room[] = []
    let invitations: Invitation[] = []
    let page: string | null = '/api/rooms'
    for (let count = 0; page && count < MAX_PAGES; count++) {
      const {body, headers}: Awaited<ReturnType<typeof ask<{rooms: Room[]; invitations: Invitation[]}>>> = await ask<{
        rooms: Room[]
        invitations: Invitation[]
      }>('GET', page)
      rooms.push(...body.rooms)
      if (count === 0) invitations = body.invitations
      page = nextPage(headers)
    }
    // What arrived live while the answer was on its way is newer than the answer.
    const known = new Map(myRooms.get().rooms.map((room) => [room.id, room]))
    const merged = rooms.map((room) => {
      const before = known.get(room.id)
      if (!before) return room
      const newer = before.lastSeq > room.lastSeq ? {lastSeq: before.lastSeq, lastMessage: before.lastMessage} : {}
      return {...room, ...newer, readSeq: Math.max(room.readSeq ?? -1, before.readSeq ?? -1)}
    })
    myRooms.set({status: 'ready', failure: null, rooms: byActivity(merged), invitations})
  } catch (error) {
    const failure = toFailure(error)
    myRooms.update((now) => (now.status === 'ready' ? now : {...now, status: 'failed', failure}))
  }
}

const followRooms = async (): Promise<void> => {
  await loadRooms()
  for (const {id} of myRooms.get().rooms.slice(0, FOLLOWED)) {
    await emit('join_room', id).catch(() => null)
  }
}

const change = (roomId: string, how: (room: Room) => Room): void =>
  myRooms.update((now) => ({...now, rooms: now.rooms.map((room) => (room.id === roomId ? how(room) : room))}))

export const noteMessage = (message: Message): void => {
  const room = myRooms.get().rooms.find(({id}) => id === message.roomId)
  if (!room || message.seq <= room.lastSeq) return
  const own = session.get()
  const isMine = own.status === 'in' && own.user.id === message.userId
  // Who writes has read; but not what came in between and was not seen.
  const readSeq = isMine && room.readSeq === message.seq - 1 ? message.seq : room.readSeq
  change(message.roomId, (before) => ({...before, lastSeq: message.seq, lastMessage: message, readSeq}))
  myRooms.update((now) => ({...now, rooms: byActivity(now.rooms)}))
  if (readSeq === message.seq) tellRead(message.roomId, message.seq)
}

const READ_MS = 500
const toTell = new Map<string, number>()
const tellRead = (roomId: string, seq: number): void => {
  if (!toTell.has(roomId)) {
    setTimeout(() => {
      tell('read', {roomId, seq: toTell.get(roomId)})
      toTell.delete(roomId)
    }, READ_MS)
  }
  toTell.set(roomId, seq)
}

/** Moves the read mark, never back. */
export const markRead = (roomId: string, seq: number): void => {
  const room = myRooms.get().rooms.find(({id}) => id === roomId)
  if (seq < 0 || (room && (room.readSeq ?? -1) >= seq)) return
  change(roomId, (before) => ({...before, readSeq: seq}))
  tellRead(roomId, seq)
}

export const startRooms = (): void => {
  let user: string | null = null
  session.subscribe(() => {
    const now = session.get()
    const id = now.status === 'in' ? now.user.id : null
    if (id === user) return
    user = id
    myRooms.set(NOTHING)
    if (id) void loadRooms()
  })
  onConnected(() => void followRooms())
  // What was read on another device, or in another tab, is not told to this one.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') void loadRooms()
  })
  onLive('message', noteMessage)
  onLive('room', (event) => {
    if (event.kind === 'invited') {
      // The page of rooms shows it itself.
      if (!/^\/rooms\/?$/.test(window.location.pathname))
        notify('plain', `${event.by.username} invites you to ${event.roomName}.`, {to: '/rooms/', toText: 'Answer'})
      void loadRooms()
      return
    }
    const now = session.get()
    if (now.status === 'in' && event.userId === now.user.id) {
      void loadRooms()
      if (event.kind === 'joined') void emit('join_room', event.roomId).catch(() => null)
    } else {
      const last = myRooms.get().rooms.find(({id}) => id === event.roomId)?.lastMessage
      if (event.kind === 'left' && last?.userId === event.userId) void loadRooms()
      const more = event.kind === 'joined' ? 1 : -1
      change(event.roomId, (room) => ({...room, memberCount: room.memberCount + more}))
    }
  })
}
