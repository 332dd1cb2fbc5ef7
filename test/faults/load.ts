import {randomUUID} from 'node:crypto'
import {Agent} from 'node:http'
import {setTimeout as pause} from 'node:timers/promises'
import {io} from 'socket.io-client'
import {onTestFinished} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {range, roomOf} from '../support/rooms.ts'
import {BOT_TOKEN, type Person, type Reply, signUp, type TestServer, visit} from '../support/server.ts'
import type {Message, Told} from './checker.ts'

/** The whole of each fault, or what fits into the suite. */
export const isLong = process.env.FAULTS === 'long'
/** How often a fault is made. FAULT_TIMES makes any run shorter or longer. */
export const times = (short: number, long: number): number => Number(process.env.FAULT_TIMES) || (isLong ? long : short)
/** A while in which anything may be under way. */
export const aWhile = (from: number, to: number) => pause(from + Math.random() * (to - from))

const ANSWER_MS = 2_000
const PASSING = new Set(['BUSY', 'BEHIND', 'UNAVAILABLE'])

type Client = Told & {
  refusals: object[]
  /** The longest time from sending something first until it was acknowledged. */
  longestWaitMs: number
  isThere(): boolean
  write(until: AbortSignal): Promise<void>
  close(): void
}

const openTold = (name: string) => ({
  name,
  sent: [] as Message[],
  posted: [] as {id: string; title: string}[],
  received: [] as Message[],
  posts: [] as {id: string; title: string}[],
  refusals: [] as object[],
  longestWaitMs: 0,
})

const inTime = <T>(work: Promise<T>): Promise<T | null> =>
  Promise.race([work.catch(() => null), pause(ANSWER_MS, null, {ref: false})])

type Who = {cookies?: Map<string, string>; auth?: object}
type Where = {
  urls: readonly string[]
  /** Its own, by which nginx picks its node. */
  address?: string
  transports?: string[]
}

/**
 * A client as people have one: it comes back by itself, to the next server where there are several, joins again with the
 * newest seq it has, pages where it missed too much, and sends what was not acknowledged again with its nonce. Now and
 * then it does not wait for the answer before it tries another way: what is under way twice is one message all the same.
 */
const openChatter = (
  name: string,
  {cookies, auth}: Who,
  roomId: string,
  {urls, address, transports}: Where,
): Client => {
  const told = openTold(name)
  let at = Math.floor(Math.random() * urls.length)
  let isJoined = false
  const socket = io(urls[at]!, {
    forceNew: true,
    reconnectionDelay: 50,
    reconnectionDelayMax: 300,
    timeout: 3_000,
    // The types know the browser's only.
    ...(address ? {agent: new Agent({localAddress: address, keepAlive: true}) as unknown as string} : {}),
    ...(auth ? {auth} : {}),
    ...(transports ? {transports} : {}),
    extraHeaders: cookies ? {cookie: cookieOf(cookies)} : {},
  })
  socket.io.on('reconnect_attempt', () => {
    at = (at + 1) % urls.length
    Object.assign(socket.io, {uri: urls[at]})
  })
  socket.on('disconnect', (reason) => {
    isJoined = false
    if (reason === 'io server disconnect') told.refusals.push({name, reason})
  })
  socket.on('connect_error', (error) => {
    const {code} = (error as {data?: {code?: string}}).data ?? {}
    if (code === undefined) return
    if (!PASSING.has(code)) told.refusals.push({name, connect: code})
    // Refused by the server, which is not tried again by itself.
    setTimeout(() => !socket.connected && socket.connect(), 100)
  })
  /** What comes live waits here while what came before is paged. */
  let waiting: Message[] | null = null
  const join = () => {
    waiting = null
    const {id} = socket
    const isCurrent = () => socket.connected && socket.id === id
    const again = () => setTimeout(() => isCurrent() && join(), 100)
    const since = told.received.at(-1)?.seq ?? -1
    socket.emit('join_room', roomId, {since}, async (answer: Joined) => {
      if (!isCurrent()) return
      if (!answer.ok) {
        if (PASSING.has(answer.code)) again()
        else told.refusals.push({name, join: answer.code})
        return
      }
      if (answer.truncated) {
        waiting = []
        for (let newest = since; newest < answer.seq; ) {
          const page = await inTime(
            request(urls[at]!, 'GET', `/api/rooms/${roomId}/messages?limit=200&since=${newest}`),
          )
          if (!isCurrent()) return
          const messages: Message[] = page?.status === 200 ? page.body.messages : []
          for (const message of messages) if (message.seq <= answer.seq) told.received.push(message)
          newest = told.received.at(-1)?.seq ?? -1
          if (messages.length === 0) await pause(100)
        }
        told.received.push(...waiting)
        waiting = null
      }
      isJoined = true
    })
  }
  const request = (url: string, method: string, path: string, body?: object): Promise<Reply> =>
    visit(url, cookies && new Map(cookies)).request(
      method,
      path,
      body,
      auth ? {authorization: `Bearer ${BOT_TOKEN}`, 'x-bot-id': name} : {},
    )
  socket.on('connect', join)
  socket.on('message', (message: Message) => void (waiting ?? told.received).push(message))
  socket.on('post', (post: {id: string; title: string}) => post.title.startsWith(roomId) && told.posts.push(post))

  const bySocket = async (content: string, nonce: string): Promise<Sent | null> =>
    socket.connected ? inTime(socket.emitWithAck('send_message', {roomId, content, nonce})) : null
  const byHttp = async (content: string, nonce: string): Promise<Sent | null> => {
    const url = urls[Math.floor(Math.random() * urls.length)]!
    const reply = await inTime(request(url, 'POST', `/api/rooms/${roomId}/messages`, {content, nonce}))
    return reply && (reply.status === 503 && reply.body?.code === undefined ? null : reply.body)
  }
  const send = async (content: string): Promise<void> => {
    const nonce = randomUUID()
    for (;;) {
      const twice = Math.random() < 0.1
      const answers = await Promise.all([bySocket(content, nonce), ...(twice ? [byHttp(content, nonce)] : [])])
      const stored = answers.flatMap((answer) => (answer?.ok ? [answer.message] : []))
      if (new Set(stored.map(({id}) => id)).size > 1) told.refusals.push({name, doubled: stored})
      if (stored[0]) return void told.sent.push(stored[0])
      for (const answer of answers)
        if (answer && !answer.ok && !PASSING.has(answer.code)) return void told.refusals.push({name, answer})
      await pause(50)
    }
  }
  return Object.assign(told, {
    isThere: () => isJoined,
    write: async (until: AbortSignal) => {
      for (let count = 0; !until.aborted; count++) {
        const began = performance.now()
        await send(`${name} ${count}`)
        told.longestWaitMs = Math.max(told.longestWaitMs, performance.now() - began)
        await aWhile(0, 40)
      }
    },
    close: () => void socket.disconnect(),
  })
}

type Joined = {ok: true; seq: number; truncated?: true} | {ok: false; code: string}
type Sent = {ok: true; message: Message} | {ok: false; code: string}

const cookieOf = (cookies: Map<string, string>): string =>
  [...cookies].map(([key, value]) => `${key}=${value}`).join('; ')

/** Writes posts over HTTP, each with its Idempotency-Key until it is answered. A 503 must say when to come back. */
const openPoster = (name: string, {cookies}: Person, roomId: string, {urls}: Where): Client => {
  const told = openTold(name)
  const post = async (title: string): Promise<void> => {
    for (let attempt = 0; ; attempt++) {
      const url = urls[attempt % urls.length]!
      const reply = await inTime(visit(url, new Map(cookies)).post('/api/posts', {title}, {'idempotency-key': title}))
      if (reply?.status === 200) return void told.posted.push(reply.body.post)
      // nginx has an own answer where a node is gone.
      const passes = reply === null || reply.body === null || PASSING.has(reply.body.code)
      if (!passes || (reply?.body && !(Number(reply.headers.get('retry-after')) > 0)))
        return void told.refusals.push({name, status: reply?.status, text: reply?.text})
      await pause(100)
    }
  }
  return Object.assign(told, {
    isThere: () => true,
    write: async (until: AbortSignal) => {
      for (let count = 0; !until.aborted; count++) {
        const began = performance.now()
        await post(`${roomId} ${count}`)
        told.longestWaitMs = Math.max(told.longestWaitMs, performance.now() - began)
        await aWhile(50, 150)
      }
    },
    close: () => {},
  })
}

export type Load = Awaited<ReturnType<typeof startLoad>>

/**
 * People and a bot who write into one room and publish posts, at any of `urls`, until `stop`. `server`: where they sign
 * up; `addresses`: each has its own, for nginx.
 */
export const startLoad = async (
  server: TestServer,
  {
    urls = [server.url],
    chatters = 5,
    addresses = false,
  }: {urls?: string[]; chatters?: number; addresses?: boolean} = {},
) => {
  const people: Person[] = []
  for (let index = 0; index < 3; index++) people.push(await signUp(server))
  const roomId = await roomOf(people[0]!, ...people.slice(1))
  const where = (index: number): Where => ({
    urls,
    ...(addresses ? {address: `127.0.0.${20 + index}`} : {}),
    ...(index % 2 === 0 ? {} : {transports: ['websocket']}),
  })
  const bot = {auth: {botToken: BOT_TOKEN, botId: 'chatter', botName: 'Chatter'}}
  const clients = [
    ...range(0, chatters).map((index) => openChatter(`client ${index}`, people[index % 3]!, roomId, where(index))),
    openChatter('chatter', bot, roomId, where(chatters)),
    openPoster('poster', people[0]!, roomId, {urls}),
  ]
  const over = new AbortController()
  onTestFinished(() => {
    over.abort()
    for (const client of clients) client.close()
  })
  const allThere = (ms = 60_000) =>
    eventually(() => clients.every(({isThere}) => isThere()), {what: 'everybody to be back in the room', ms})
  await allThere()
  const writing = clients.map(({write}) => write(over.signal))
  const refusals = () => clients.flatMap((client) => client.refusals)
  const count = ({sent, posted}: Client) => sent.length + posted.length
  return {
    roomId,
    reader: people[0]!,
    people,
    clients,
    refusals,
    allThere,
    /** Everybody gets so many more acknowledgements. */
    goesOn: async (more = 3, ms = 60_000) => {
      const before = clients.map(count)
      await eventually(() => clients.every((client, index) => count(client) >= before[index]! + more), {
        what: 'everybody to write',
        ms,
      })
      if (refusals().length > 0) throw new Error(JSON.stringify(refusals().slice(0, 3)))
    },
    /** What was begun is sent until it is acknowledged; then everybody has received everything. */
    stop: async () => {
      over.abort()
      await Promise.all(writing)
      await allThere()
      const newest = Math.max(...clients.flatMap(({sent}) => sent.map(({seq}) => seq)))
      const readers = clients.filter(({name}) => name !== 'poster')
      await eventually(() => readers.every(({received}) => (received.at(-1)?.seq ?? -1) >= newest), {
        what: 'everybody to have the newest message',
        ms: 30_000,
      })
      const longestOutageMs = Math.max(...clients.map(({longestWaitMs}) => longestWaitMs))
      return {roomId, reader: people[0]!, clients, refusals: refusals(), longestOutageMs}
    },
  }
}
