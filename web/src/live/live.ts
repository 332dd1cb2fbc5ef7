import {io, type Socket} from 'socket.io-client'
import {Failure, failureFrom, offline} from '../api.ts'
import type {Message, Post} from '../contract.ts'
import {session} from '../session.ts'
import {createStore} from '../store.ts'

const ANSWER_MS = 10_000

export type RoomChange =
  | {kind: 'joined' | 'left'; roomId: string; userId: string; username: string}
  | {kind: 'invited'; roomId: string; roomName: string; by: {userId: string; username: string}}

type Events = {
  message: (message: Message) => void
  post: (post: Post) => void
  room: (change: RoomChange) => void
  presence: (presence: {userId: string; online: boolean}) => void
}

/** `lost`: it is not there, and is being looked for. */
export type LiveStatus = 'off' | 'connecting' | 'on' | 'lost'
export const liveStatus = createStore<LiveStatus>('off')

let socket: Socket | null = null
let again: ReturnType<typeof setTimeout> | undefined
const listeners: {[name in keyof Events]: Set<Events[name]>} = {
  message: new Set(),
  post: new Set(),
  room: new Set(),
  presence: new Set(),
}

export const onLive = <Name extends keyof Events>(name: Name, listener: Events[Name]): (() => void) => {
  listeners[name].add(listener)
  return () => void listeners[name].delete(listener)
}

/** Runs now if connected, and at each connection from now on. */
export const onConnected = (listener: () => void): (() => void) => {
  if (liveStatus.get() === 'on') listener()
  let before = liveStatus.get()
  return liveStatus.subscribe(() => {
    const now = liveStatus.get()
    if (now === 'on' && before !== 'on') listener()
    before = now
  })
}

const lost = () => liveStatus.set('lost')

/** Where the server itself closed or refused the connection, Socket.IO leaves it to us to come back. */
const comeBack = () => {
  clearTimeout(again)
  again = setTimeout(() => socket?.connect(), 500 + Math.random() * 1_000)
}

const open = (): Socket => {
  const opened = io({
    path: '/socket.io',
    transports: ['websocket', 'polling'],
    tryAllTransports: true,
    reconnectionDelay: 500,
    reconnectionDelayMax: 4_000,
    timeout: 8_000,
  })
  opened.on('connect', () => liveStatus.set('on'))
  opened.on('disconnect', (reason) => {
    lost()
    if (reason === 'io server disconnect') comeBack()
  })
  opened.on('connect_error', (error: Error & {data?: {code?: string}}) => {
    lost()
    if (error.data?.code === 'NOT_SIGNED_IN') session.set({status: 'out', ended: true})
    else if (!opened.active) comeBack()
  })
  opened.on('message', (message: Message) => listeners.message.forEach((listener) => void listener(message)))
  opened.on('post', (post: Post) => listeners.post.forEach((listener) => void listener(post)))
  opened.on('room', (change: RoomChange) => listeners.room.forEach((listener) => void listener(change)))
  opened.on('presence', (presence) => listeners.presence.forEach((listener) => void listener(presence)))
  return opened
}

const close = () => {
  clearTimeout(again)
  socket?.disconnect()
  socket?.removeAllListeners()
  socket = null
  liveStatus.set('off')
}

/** One connection for the page, as long as somebody is signed in. */
export const startLive = (): void => {
  let connectedAs: string | null = null
  const follow = () => {
    const now = session.get()
    const user = now.status === 'in' ? now.user.id : null
    if (user === connectedAs) return
    connectedAs = user
    close()
    if (!user) return
    liveStatus.set('connecting')
    socket = open()
  }
  session.subscribe(follow)
  follow()
  // The browser knows sooner than the connection's own heartbeat.
  window.addEventListener('offline', () => {
    if (!socket) return
    lost()
    if (socket.connected) socket.io.engine.close()
  })
  window.addEventListener('online', () => socket?.connect())
}

/** Emits and waits for the callback's answer. Throws Failure; OFFLINE where the connection went away before it came. */
export const emit = async <T>(event: string, ...args: unknown[]): Promise<T> => {
  if (!socket?.connected) throw offline()
  const asked = socket
  let answer: unknown
  try {
    answer = await asked.timeout(ANSWER_MS).emitWithAck(event, ...args)
  } catch {
    throw asked.connected ? new Failure('NO_ANSWER', 'The server did not answer in time.') : offline()
  }
  if ((answer as {ok?: unknown})?.ok === true) return answer as T
  throw failureFrom(answer)
}

/** For what needs no answer, and may be lost. */
export const tell = (event: string, ...args: unknown[]): void => {
  if (socket?.connected) socket.emit(event, ...args)
}
