import {ask, type Failure, newKey, toFailure} from '../api.ts'
import type {Member, Message, Room, User} from '../contract.ts'
import {readStored, writeStored} from '../storage.ts'
import {createStore, type Store} from '../store.ts'
import {emit, liveStatus, onConnected, onLive} from './live.ts'
import {markRead, noteMessage} from './rooms.ts'

const PAGE = 50
/** What a window is cut back to, and what it may reach while somebody reads in it. */
const WINDOW = 150
const MAX_WINDOW = 200
const MAX_OUTGOING = 50
const REJOIN_MS = 1_500

/** A message on its way. The nonce makes sending it twice one message. `seq`: it is in the room as that one. */
export type Outgoing = {
  nonce: string
  content: string
  createdAt: string
  state: 'pending' | 'sent' | 'failed'
  error: string | null
  seq: number | null
}

export type Feed = {
  status: 'loading' | 'ready' | 'failed'
  failure: Failure | null
  room: Room | null
  members: Member[]
  /** A part of the room without gaps, oldest first: never more than MAX_WINDOW. */
  messages: Message[]
  /** The newest seq of the room; below it nothing is missing. */
  head: number
  /** The first message that is new since one was away. */
  newFrom: number | null
  loading: 'older' | 'newer' | null
  outgoing: Outgoing[]
}

const EMPTY: Feed = {
  status: 'loading',
  failure: null,
  room: null,
  members: [],
  messages: [],
  head: -1,
  newFrom: null,
  loading: null,
  outgoing: [],
}

export const atStart = ({messages, head}: Feed): boolean => (messages.length === 0 ? head < 0 : messages[0]!.seq === 0)
export const atEnd = ({messages, head}: Feed): boolean => (messages.at(-1)?.seq ?? -1) === head

/** What is to be shown after the messages: not what is among them already. */
export const onTheWay = ({outgoing, head}: Feed): Outgoing[] => outgoing.filter(({seq}) => seq === null || seq > head)

export type RoomFeed = {
  state: Store<Feed>
  older(): Promise<void>
  newer(): Promise<void>
  /** To the newest message; or to where this seq is. */
  jump(to?: number): Promise<void>
  send(content: string): boolean
  retry(nonce: string): void
  discard(nonce: string): void
  /** Whether the person sees the end of the room now: what arrives meanwhile is read. */
  watching(is: boolean): void
  reload(): Promise<void>
  close(): void
}

/**
 * One room, live. It holds a window on the room's messages; older and newer ones are fetched as the window moves. `head`
 * is what the room is known up to: each connection joins with `since: head`, so nothing is lost and nothing is shown twice.
 * Where `at` is given, the window begins around that message.
 */
export const openRoomFeed = (roomId: string, me: User, at: number | null = null): RoomFeed => {
  const outboxKey = `outbox:${me.id}:${roomId}`
  const stored = readStored<Outgoing[]>(outboxKey) ?? []
  const state = createStore<Feed>({...EMPTY, outgoing: stored})
  const path = `/api/rooms/${encodeURIComponent(roomId)}`
  let closed = false
  let joined = false
  let joining = false
  let hasJoined = false
  let catchingUp = false
  let sending = false
  let isWatching = false
  let rejoin: ReturnType<typeof setTimeout> | undefined

  const patch = (change: Partial<Feed>) => {
    if (!closed) state.update((now) => ({...now, ...change}))
  }

  const read = () => {
    if (isWatching && state.get().status === 'ready' && atEnd(state.get())) markRead(roomId, state.get().head)
  }

  // Outgoing messages

  const setOutgoing = (change: (outgoing: Outgoing[]) => Outgoing[]) => {
    if (closed) return
    const outgoing = change(state.get().outgoing)
    patch({outgoing})
    writeStored(outboxKey, outgoing.length > 0 ? outgoing : null)
  }
  const edit = (nonce: string, change: Partial<Outgoing>) =>
    setOutgoing((outgoing) => outgoing.map((one) => (one.nonce === nonce ? {...one, ...change} : one)))
  const drop = (nonce: string) => setOutgoing((outgoing) => outgoing.filter((one) => one.nonce !== nonce))

  const flush = async (): Promise<void> => {
    if (sending || !joined) return
    sending = true
    try {
      for (;;) {
        const next = state.get().outgoing.find((one) => one.state === 'pending')
        if (!next || closed || !joined) return
        try {
          const {message} = await emit<{message: Message}>('send_message', {
            roomId,
            content: next.content,
            nonce: next.nonce,
          })
          receive(message)
          if (state.get().head >= message.seq) drop(next.nonce)
          else {
            // Others' messages before it are not here yet. It stays where it is until they are.
            edit(next.nonce, {seq: message.seq, state: 'sent'})
            void join()
          }
        } catch (error) {
          const failure = toFailure(error)
          if (failure.code === 'OFFLINE') return
          edit(next.nonce, {state: 'failed', error: failure.message})
        }
      }
    } finally {
      sending = false
    }
  }

  // What arrives

  const receive = (message: Message): void => {
    const now = state.get()
    if (closed || now.status !== 'ready' || message.seq <= now.head) return
    if (message.seq > now.head + 1) return
    const isMine = message.userId === me.id
    const follows = atEnd(now) && (isWatching || now.messages.length < MAX_WINDOW)
    const messages = follows ? [...now.messages, message] : now.messages
    const arrived = isMine
      ? now.outgoing.find(({state, seq, content}) => state === 'pending' && seq === null && content === message.content)
      : undefined
    patch({
      head: message.seq,
      messages: isWatching && messages.length > MAX_WINDOW - 1 ? messages.slice(-WINDOW) : messages,
      // The broadcast may come before the answer: then it is the one on its way, which is not shown a second time.
      outgoing: now.outgoing
        .map((one) => (one === arrived ? {...one, seq: message.seq} : one))
        .filter((one) => one.state !== 'sent' || one.seq! > message.seq),
      newFrom: now.newFrom === null && !isMine && (!isWatching || catchingUp) ? message.seq : now.newFrom,
    })
    noteMessage(message)
    read()
  }

  const stopMessages = onLive('message', (message) => {
    if (message.roomId !== roomId) return
    receive(message)
    if (state.get().status === 'ready' && message.seq > state.get().head && joined) void join()
  })

  const stopRooms = onLive('room', (change) => {
    if (change.roomId !== roomId) return
    if (change.kind === 'invited' || change.userId === me.id) {
      // Here or elsewhere, one may come in now, has come in, or is out.
      void reload()
      return
    }
    const {members, room} = state.get()
    if (change.kind === 'left') {
      if (state.get().messages.some(({userId}) => userId === change.userId)) void lookAgain()
      patch({members: members.filter(({userId}) => userId !== change.userId)})
      if (room) patch({room: {...room, memberCount: room.memberCount - 1}})
    } else if (change.kind === 'joined' && !members.some(({userId}) => userId === change.userId)) void loadMembers()
  })

  const stopPresence = onLive('presence', ({userId, online}) => {
    const {members} = state.get()
    patch({members: members.map((member) => (member.userId === userId ? {...member, online} : member))})
  })

  // Joining

  const join = async (): Promise<void> => {
    if (joining || closed || state.get().status !== 'ready' || liveStatus.get() !== 'on') return
    joining = true
    clearTimeout(rejoin)
    const since = state.get().head
    const wasAway = !joined
    catchingUp = wasAway && hasJoined
    if (catchingUp && isWatching) patch({newFrom: null})
    try {
      const answer = await emit<{seq: number; truncated?: true}>('join_room', roomId, {since})
      if (closed) return
      joined = true
      hasJoined = true
      if (answer.truncated) {
        patch({head: answer.seq, newFrom: state.get().newFrom ?? since + 1})
        await jump()
      } else if (answer.seq > state.get().head) {
        // It answered, but not all of it came; ask again.
        rejoin = setTimeout(() => void join(), REJOIN_MS)
      }
      if (wasAway) void loadMembers()
      void flush()
    } catch (error) {
      joined = false
      const failure = toFailure(error)
      if (failure.code === 'SINCE_UNKNOWN' || failure.code === 'NOT_A_MEMBER' || failure.code === 'NOT_FOUND')
        void reload()
      else if (failure.code !== 'OFFLINE') rejoin = setTimeout(() => void join(), REJOIN_MS)
    } finally {
      joining = false
      catchingUp = false
    }
  }

  const stopLive = onConnected(() => {
    if (state.get().status === 'failed') void reload()
    else void join()
  })
  const stopStatus = liveStatus.subscribe(() => {
    if (liveStatus.get() !== 'on') joined = false
  })

  // Reading

  // Many may come at once: one request at a time, and one more for those who came meanwhile.
  let asking = false
  let askAgain = false
  const loadMembers = async (): Promise<void> => {
    askAgain = true
    if (asking) return
    asking = true
    while (askAgain && !closed) {
      askAgain = false
      try {
        const {body} = await ask<{room: Room; members: Member[]}>('GET', path)
        patch({members: body.members, room: body.room})
      } catch {}
    }
    asking = false
  }

  let turn = 0
  const reload = async (): Promise<void> => {
    const mine = ++turn
    joined = false
    try {
      const {body} = await ask<{room: Room; members: Member[]; messages: Message[]}>('GET', path)
      if (mine !== turn) return
      const {room, members, messages} = body
      const head = messages.at(-1)?.seq ?? -1
      const there = at !== null && at < (messages[0]?.seq ?? 0) ? await around(at) : messages
      const isUnread = room.readSeq !== null && room.readSeq >= 0 && room.readSeq < head
      const firstNew = isUnread ? messages.find(({seq, userId}) => seq > room.readSeq! && userId !== me.id) : undefined
      patch({
        status: 'ready',
        failure: null,
        room,
        members,
        messages: there.filter(({seq}) => seq <= head),
        head,
        newFrom: isUnread ? (messages[0]!.seq > room.readSeq! + 1 ? room.readSeq! + 1 : (firstNew?.seq ?? null)) : null,
        loading: null,
      })
      await join()
    } catch (error) {
      if (mine !== turn) return
      if (state.get().status === 'ready' && toFailure(error).code === 'OFFLINE') return
      patch({status: 'failed', failure: toFailure(error)})
    }
  }

  const page = async (query: string): Promise<Message[]> =>
    (await ask<{messages: Message[]}>('GET', `${path}/messages?${query}`)).body.messages

  const around = (seq: number): Promise<Message[]> => page(`since=${Math.max(-1, seq - 15)}&limit=${PAGE}`)

  const older = async (): Promise<void> => {
    const now = state.get()
    if (now.loading || now.status !== 'ready' || atStart(now) || now.messages.length === 0) return
    patch({loading: 'older'})
    try {
      const first = now.messages[0]!.seq
      const found = await page(`before=${first}&limit=${PAGE}`)
      const {messages} = state.get()
      if (messages[0]?.seq === first) patch({messages: [...found, ...messages].slice(0, WINDOW)})
    } catch {
    } finally {
      patch({loading: null})
    }
  }

  const newer = async (): Promise<void> => {
    const now = state.get()
    if (now.loading || now.status !== 'ready' || atEnd(now)) return
    patch({loading: 'newer'})
    try {
      const last = now.messages.at(-1)?.seq ?? -1
      const found = await page(`since=${last}&limit=${PAGE}`)
      const {messages, head} = state.get()
      // Past the head come the live ones, which are not here yet.
      const known = found.filter(({seq}) => seq <= head)
      if ((messages.at(-1)?.seq ?? -1) === last) patch({messages: [...messages, ...known].slice(-WINDOW)})
    } catch {
    } finally {
      patch({loading: null})
    }
  }

  /** Whoever left may have erased what they wrote: then it goes from here, too. */
  const lookAgain = async (): Promise<void> => {
    try {
      const found = await page(`since=${state.get().messages[0]!.seq - 1}&limit=${MAX_WINDOW}`)
      const current = new Map(found.map((message) => [message.seq, message]))
      patch({messages: state.get().messages.map((message) => current.get(message.seq) ?? message)})
    } catch {}
  }

  const jump = async (to?: number): Promise<void> => {
    try {
      const found = await (to === undefined ? page(`limit=${PAGE}`) : around(to))
      const {head} = state.get()
      patch({messages: found.filter(({seq}) => seq <= head)})
    } catch {}
  }

  void reload()

  return {
    state,
    older,
    newer,
    jump,
    reload,
    send: (content) => {
      if (state.get().outgoing.length >= MAX_OUTGOING) return false
      const nonce = newKey()
      const createdAt = new Date().toISOString()
      setOutgoing((now) => [...now, {nonce, content, createdAt, state: 'pending', error: null, seq: null}])
      patch({newFrom: null})
      if (!atEnd(state.get())) void jump()
      void flush()
      return true
    },
    retry: (nonce) => {
      edit(nonce, {state: 'pending', error: null})
      void flush()
    },
    discard: drop,
    watching: (is) => {
      isWatching = is
      if (is) read()
    },
    close: () => {
      closed = true
      clearTimeout(rejoin)
      for (const stop of [stopMessages, stopRooms, stopPresence, stopLive, stopStatus]) stop()
    },
  }
}
