import {randomUUID} from 'node:crypto'
import {type Server as HttpServer, type IncomingMessage, ServerResponse} from 'node:http'
import type {Request, Response} from 'express'
import {Server, type Socket} from 'socket.io'
import {z} from 'zod'
import type {Person} from '../edge/callers.ts'
import {botOf, personOf} from '../edge/callers.ts'
import {ApiError, errorBody, toApiError} from '../edge/errors.ts'
import {isForeign} from '../edge/origin.ts'
import type {Parts} from '../edge/parts.ts'
import type {Codec} from '../log/codec.ts'
import {openDelivery} from './delivery.ts'
import {joinRoomEvent} from './joinRoomEvent.ts'
import {sendMessageEvent} from './sendMessageEvent.ts'

const MAX_SOCKETS = 50
/** A message of 4,000 characters, each escaped, and room to spare. */
const MAX_PAYLOAD = 128 * 1024

export type SocketParts = Parts & {codec: Codec}
export type Reply = (answer: object) => void
/** One socket event: its handler gives the fields that follow `ok: true`, or throws an ApiError. */
export type SocketEvent = {
  name: string
  handle: (socket: Socket, by: Person, args: unknown[], requestId: string, reply: Reply) => Promise<void>
}

export type Sockets = {
  shownTo(userId: string): bigint | null
  /** Refuses what is new, lets what is under way be answered, then disconnects everybody. */
  stop(): Promise<void>
}

/** Socket.IO on the server: who connects, which events there are, and what the log's tail brings to whom. */
export const openSockets = (server: HttpServer, parts: SocketParts): Sockets => {
  const {config, logger} = parts
  const io = new Server(server, {
    path: '/socket.io',
    serveClient: false,
    maxHttpBufferSize: MAX_PAYLOAD,
    allowRequest: (req, callback) => callback(null, !isForeign(req, config)),
    ...(config.corsOrigins.length > 0 ? {cors: {origin: [...config.corsOrigins], credentials: true}} : {}),
  })
  const delivery = openDelivery(io, parts.tail)
  const events = [joinRoomEvent(parts, delivery), sendMessageEvent(parts, delivery)]
  let stopping = false
  let underWay = 0

  io.use(async (socket, next) => {
    const requestId = randomUUID()
    try {
      const person = await personOfHandshake(socket, parts)
      if (!person.isBot && delivery.socketsOf(person.userId) >= MAX_SOCKETS) throw new ApiError('RATE_LIMITED', {}, 60)
      socket.data.person = person
      next()
    } catch (error) {
      next(connectError(error, requestId, logger))
    }
  })

  io.on('connection', (socket) => {
    const by: Person = socket.data.person
    delivery.connected(socket, by.userId)
    for (const event of events) {
      socket.on(event.name, (...args: unknown[]) => void answer(event, socket, by, args))
    }
    const known = new Set(events.map(({name}) => name))
    socket.onAny((name: string, ...args: unknown[]) => {
      if (!known.has(name)) callbackOf(args)?.(errorBody(new ApiError('NOT_FOUND'), randomUUID()))
    })
  })

  const answer = async (event: SocketEvent, socket: Socket, by: Person, args: unknown[]): Promise<void> => {
    const requestId = randomUUID()
    const reply = callbackOf(args) ?? (() => {})
    if (stopping) return reply(errorBody(new ApiError('UNAVAILABLE'), requestId))
    underWay++
    try {
      await event.handle(socket, by, args, requestId, reply)
    } catch (error) {
      const known = toApiError(error)
      if (known.code === 'INTERNAL')
        logger.error({requestId, event: event.name, error: String((error as Error).stack)}, 'a socket event failed')
      reply(errorBody(known, requestId))
    } finally {
      underWay--
    }
  }

  return {
    shownTo: delivery.shownTo,
    stop: async () => {
      stopping = true
      const until = Date.now() + 4_000
      while (underWay > 0 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10))
      io.disconnectSockets(true)
      await new Promise<void>((resolve) => io.close(() => resolve()))
    },
  }
}

const callbackOf = (args: unknown[]): Reply | null => {
  const last = args.at(-1)
  return typeof last === 'function' ? (last as Reply) : null
}

const connectError = (error: unknown, requestId: string, logger: Parts['logger']): Error => {
  const known = toApiError(error)
  if (known.code === 'INTERNAL')
    logger.error({requestId, error: String((error as Error).stack)}, 'a socket could not connect')
  return Object.assign(new Error(known.code), {data: errorBody(known, requestId)})
}

const BotAuth = z.object({botToken: z.string(), botId: z.string().optional(), botName: z.string().optional()})

const personOfHandshake = async (socket: Socket, {config, pool, sessions}: SocketParts): Promise<Person> => {
  if (socket.handshake.auth.botToken !== undefined) {
    const auth = BotAuth.safeParse(socket.handshake.auth)
    const bot = auth.success ? botOf(config.chatBotToken, auth.data) : null
    if (!bot) throw new ApiError('NOT_SIGNED_IN')
    return bot
  }
  const req = socket.request as IncomingMessage & Request
  await new Promise<void>((resolve, reject) => {
    // The session is only read: the answer that would carry its cookie is never sent.
    const unsent = new ServerResponse(req) as unknown as Response
    sessions.load(req, unsent, (error?: unknown) => (error ? reject(error as Error) : resolve()))
  })
  const person = req.session.userId ? await personOf(pool, req.session.userId) : null
  if (!person) throw new ApiError('NOT_SIGNED_IN')
  return person
}
