import {randomUUID} from 'node:crypto'
import {type Server as HttpServer, type IncomingMessage, ServerResponse} from 'node:http'
import {setTimeout as pause} from 'node:timers/promises'
import type {Request, Response} from 'express'
import {Server, type Socket} from 'socket.io'
import {z} from 'zod'
import type {Person} from '../edge/callers.ts'
import {botOf, personOf} from '../edge/callers.ts'
import {ApiError, errorBody, toApiError} from '../edge/errors.ts'
import {isForeign} from '../edge/origin.ts'
import type {Parts} from '../edge/parts.ts'
import {openSignedOut} from '../edge/signedOut.ts'
import {roomFold, roomStream} from '../streams/streams.ts'
import {isFlushed} from './backlog.ts'
import {openDelivery} from './delivery.ts'
import {openEventRate} from './eventRate.ts'
import {joinRoomEvent} from './joinRoomEvent.ts'
import {openPresenceEvents} from './presenceEvent.ts'
import {readEvent} from './readEvent.ts'
import {sendMessageEvent} from './sendMessageEvent.ts'

const MAX_SOCKETS = 50
/** A message of 4,000 characters, each escaped, and room to spare. */
const MAX_PAYLOAD = 128 * 1024
/** How long a stop waits for what is under way, and then for what was said to be sent. */
const DRAIN_MS = 3_000
const FLUSH_MS = 500

export type Reply = (answer: object) => void
/** One socket event: its handler replies, or throws an ApiError. */
export type SocketEvent = {
  name: string
  /** What it is called where it is written down that it was refused. */
  command: string
  handle: (socket: Socket, by: Person, args: unknown[], requestId: string, reply: Reply) => Promise<void>
}

export type Sockets = {
  start(): Promise<void>
  shownTo(userId: string): bigint | null
  connected(): number
  /** Refuses what is new, lets what is under way be answered, then closes every connection. */
  stop(): Promise<void>
}

/**
 * Socket.IO on the server: who connects, which events there are, and what the log's tail brings to whom. `refuse`
 * answers the handshake of a page of another site.
 */
export const openSockets = (
  server: HttpServer,
  {
    databaseUrl,
    refuse,
    ...parts
  }: Parts & {databaseUrl: string; refuse: (res: ServerResponse, error: ApiError) => void},
): Sockets => {
  const {config, logger, execute, pool, presence} = parts
  const io = new Server(server, {
    path: '/socket.io',
    serveClient: false,
    maxHttpBufferSize: MAX_PAYLOAD,
    ...(config.corsOrigins.length > 0 ? {cors: {origin: [...config.corsOrigins], credentials: true}} : {}),
  })
  io.engine.use((req: IncomingMessage, res: ServerResponse, next: () => void) =>
    isForeign(req, config) ? refuse(res, new ApiError('CROSS_SITE')) : next(),
  )
  const delivery = openDelivery(io, {
    tail: parts.tail,
    toUrl: parts.uploadUrls.toUrl,
    onDelivered: parts.metrics.delivered,
    nameOf: async (roomId) => {
      const {state} = await execute.load(roomStream(roomId), roomFold)
      return state.kind === 'room' ? state.name : ''
    },
    onTooSlow: (userId) => logger.info({userId}, 'a socket did not read what it was sent, and was dropped'),
  })
  const signedOut = openSignedOut({url: databaseUrl, pool})
  const events = new Map(
    [joinRoomEvent(parts, delivery), sendMessageEvent(parts, delivery), readEvent(parts)].map((one) => [one.name, one]),
  )
  const presenceEvents = openPresenceEvents(parts, delivery)
  let stopping = false
  let underWay = 0

  io.use(async (socket, next) => {
    const requestId = randomUUID()
    try {
      if (stopping) throw new ApiError('UNAVAILABLE')
      const {person, sid} = await personOfHandshake(socket, parts)
      const forget = delivery.admit(socket, person, MAX_SOCKETS - presence.elsewhere(person.userId))
      if (!forget) throw new ApiError('RATE_LIMITED')
      const unwatch = sid === null ? () => {} : signedOut.watch(sid, () => socket.disconnect(true))
      const leave = () => {
        unwatch()
        forget()
      }
      socket.data = {person, leave}
      next()
      // Socket.IO connects it in its next tick, or never, where the client is gone by now.
      process.nextTick(() => socket.connected || leave())
    } catch (error) {
      next(connectError(error, requestId, logger))
    }
  })

  io.on('connection', (socket) => {
    const {person: by, leave}: {person: Person; leave: () => void} = socket.data
    delivery.connected(socket, by)
    const gone = presence.arrive(by.userId)
    // One listener, and a rate only for who sends something: most sockets are idle, and there are thousands of them.
    socket.on('disconnect', () => {
      leave()
      gone()
    })
    let rate: ReturnType<typeof openEventRate> | null = null
    socket.onAny((name: unknown, ...args: unknown[]) => {
      rate ??= openEventRate()
      void answer(socket, by, events.get(name as string), args, by.isBot || rate.take())
    })
  })

  const answer = async (
    socket: Socket,
    by: Person,
    event: SocketEvent | undefined,
    args: unknown[],
    isWithinRate: boolean,
  ): Promise<void> => {
    const requestId = randomUUID()
    const reply = callbackOf(args)
    underWay++
    try {
      if (!isWithinRate) throw new ApiError('RATE_LIMITED')
      if (stopping) throw new ApiError('UNAVAILABLE')
      if (!event) throw new ApiError('NOT_FOUND')
      await event.handle(
        socket,
        by,
        args.filter((arg) => typeof arg !== 'function'),
        requestId,
        reply,
      )
    } catch (error) {
      const known = toApiError(error)
      if (event) await parts.refusals.commandFailed(by, event.command, known, requestId)
      if (known.code === 'INTERNAL')
        logger.error({requestId, event: event?.name, error: String((error as Error).stack)}, 'a socket event failed')
      reply(errorBody(known, requestId))
    } finally {
      underWay--
    }
  }

  return {
    start: signedOut.start,
    shownTo: delivery.shownTo,
    connected: () => io.sockets.sockets.size,
    stop: async () => {
      stopping = true
      await until(() => underWay === 0, DRAIN_MS)
      await until(() => [...io.sockets.sockets.values()].every(isFlushed), FLUSH_MS)
      // It ends by waiting for the HTTP server, which has its own bound.
      void io.close()
      presenceEvents.stop()
      await signedOut.stop()
    },
  }
}

const until = async (condition: () => boolean, ms: number): Promise<void> => {
  const deadline = performance.now() + ms
  while (!condition() && performance.now() < deadline) await pause(5)
}

const callbackOf = (args: unknown[]): Reply => {
  const last = args.at(-1)
  return typeof last === 'function' ? (last as Reply) : () => {}
}

const connectError = (error: unknown, requestId: string, logger: Parts['logger']): Error => {
  const known = toApiError(error)
  if (known.code === 'INTERNAL')
    logger.error({requestId, error: String((error as Error).stack)}, 'a socket could not connect')
  return Object.assign(new Error(known.code), {data: errorBody(known, requestId)})
}

const orAbsent = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined)
const BotAuth = z.object({botToken: z.string(), botId: orAbsent, botName: orAbsent})

/** `sid`: the session that lets the person in; a bot has none. */
const personOfHandshake = async (socket: Socket, parts: Parts): Promise<{person: Person; sid: string | null}> => {
  const {config, sessions} = parts
  if ((socket.handshake.auth.botToken ?? null) !== null) {
    const auth = BotAuth.safeParse(socket.handshake.auth)
    const bot = auth.success ? botOf(config.chatBotToken, auth.data) : null
    if (!bot) throw new ApiError('NOT_SIGNED_IN')
    return {person: bot, sid: null}
  }
  // What is read of the session stays on an object that stands before the request, which lives as long as the socket.
  const req: IncomingMessage & Request = Object.create(socket.request)
  await new Promise<void>((resolve, reject) => {
    // The session is only read: the answer that would carry its cookie is never sent.
    const unsent = new ServerResponse(req) as unknown as Response
    sessions.load(req, unsent, (error?: unknown) => (error ? reject(error as Error) : resolve()))
  })
  const {userId} = req.session
  const person = userId ? await personOf(parts, userId) : null
  if (!person) throw new ApiError('NOT_SIGNED_IN')
  return {person, sid: req.sessionID}
}
