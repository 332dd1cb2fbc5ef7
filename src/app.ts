import type {Server} from 'node:http'
import type {Socket} from 'node:net'
import {type Logger, pino} from 'pino'
import type {SendLink} from './commands/registerUser.ts'
import {type Config, makeDataDir} from './config.ts'
import {startEmbeddedPostgres} from './database/embeddedPostgres.ts'
import {takeServerLease} from './database/serverLease.ts'
import {cookieFlags} from './edge/cookies.ts'
import {openLimits} from './edge/limits.ts'
import type {Parts} from './edge/parts.ts'
import {openPeople} from './edge/people.ts'
import {openPresence} from './edge/presence.ts'
import {openReadMarks} from './edge/readMarks.ts'
import {openRefusals} from './edge/refusals.ts'
import {openSessions} from './edge/sessions.ts'
import {openFeed} from './feed.ts'
import {openFoundation} from './foundation.ts'
import {openHttp} from './http/app.ts'
import {refuseHandshake} from './http/refuse.ts'
import {openServer} from './http/server.ts'
import {loadSecrets} from './keys/secrets.ts'
import {openMailQueue} from './mail/mailQueue.ts'
import {resetMail} from './mail/resetMail.ts'
import {openTransport} from './mail/transport.ts'
import {verificationMail} from './mail/verificationMail.ts'
import {openMetrics} from './metrics/metrics.ts'
import {keepErasing, openErasure} from './operations/erasures.ts'
import {findMarked} from './projections/messages.ts'
import {tables} from './projections/tables.ts'
import {documentedEvents} from './realtime/documentedEvents.ts'
import {openSockets} from './realtime/sockets.ts'
import {beganAtIn} from './streams/beganAt.ts'
import {markedInChat} from './streams/readChat.ts'
import {userIdOf} from './streams/streams.ts'
import {openUploads} from './uploads/uploads.ts'
import {openUploadUrls} from './uploads/uploadUrls.ts'

const READY_MS = 1_500
const DRAIN_MS = 3_000
/** Connections that the system holds until we take them: everybody who comes back at once. Node's own 511 are soon full, and then reset. */
const BACKLOG = 4_096

export type App = {
  /** Resolves when it listens. */
  start(): Promise<{port: number}>
  /** Answers what is under way, then lets go of everything, last opened first. */
  stop(): Promise<void>
}

/** How long a node that starts waits for tables to hold what the log held: a node that was killed leaves its lease behind. */
const CATCH_UP_MS = 4_000
/** And how long its reads wait for that. */
const CAUGHT_UP_MS = 30_000

/** The composition root. `onFatal`: the process can't go on and should end; `stop` has not run yet. */
export const openApp = (
  config: Config,
  {logger = pino({level: config.logLevel}), onFatal}: {logger?: Logger; onFatal: (reason: string) => void},
): App => {
  const opened: {name: string; close: () => Promise<unknown>}[] = []
  const onClose = (name: string, close: () => Promise<unknown>) => opened.push({name, close})

  const openDatabase = async (): Promise<string> => {
    if (config.databaseUrl !== null) return config.databaseUrl
    await makeDataDir(config)
    const database = await startEmbeddedPostgres({
      dataDir: config.dataDir,
      logger,
      onExit: onFatal,
    })
    onClose('embedded PostgreSQL', () => database.stop())
    const lease = await takeServerLease({
      url: database.url,
      onLost: () => onFatal('another server has taken over this data directory'),
    })
    onClose('lease of the data directory', () => lease.release())
    return database.url
  }

  const start = async (): Promise<{port: number}> => {
    const began = performance.now()
    const secrets = await loadSecrets(config)
    const url = await openDatabase()
    const metrics = openMetrics()
    const bare = await openFoundation(config, {
      url,
      secrets,
      onTrouble: (what, error) => logger.warn({error: String(error)}, what),
    })
    onClose('log and database connections', bare.close)
    const foundation = {...bare, log: metrics.timed(bare.log)}
    const {pool, keys, personKeys, log, codec} = foundation

    const feed = openFeed(foundation, {logger, onFatal})
    onClose('read tables and tail', feed.stop)
    const {tail, execute, applied} = feed
    tail.listen(metrics.observe)

    const refusals = openRefusals({execute, pool, logger})
    onClose('refusals', refusals.settled)

    const queue = openMailQueue({
      pool,
      keyOf: async (stream) => {
        const userId = userIdOf(stream)
        return (await personKeys.provide([userId])).get(userId) ?? null
      },
      transport: openTransport(config.mail, logger),
      isInLog: async (stream, eventId) => {
        for await (const {id} of log.readStream(stream)) if (id === eventId) return true
        return false
      },
      logger,
    })
    onClose('mail', () => queue.stop())

    const sessions = openSessions({pool, secret: secrets.sessionSecret, cookie: cookieFlags(config)})
    onClose('sessions', async () => sessions.stop())

    const readMarks = openReadMarks({pool, tail})
    onClose('read marks', readMarks.stop)
    const presence = openPresence({url})
    onClose('presence', presence.stop)

    const uploads = await openUploads(config)
    const uploadUrls = openUploadUrls(config)

    const erasure = openErasure({
      ...foundation,
      ...feed,
      uploads,
      mailDir: 'dir' in config.mail ? config.mail.dir : null,
    })

    const sendLink = (write: typeof resetMail, linkWith: (secret: string) => string): SendLink => ({
      enqueue: ({to, username, askedAt, token, awaits}) =>
        queue.enqueue(write({to, username, askedAt, link: linkWith(token.secret)}), awaits),
      release: queue.release,
    })

    const parts: Parts = {
      config,
      pool,
      log,
      codec,
      tail,
      applied,
      execute,
      keys,
      sessions,
      people: openPeople({pool, tail, applied}),
      readMarks,
      presence,
      limits: openLimits(pool, config.limits, keys.derive('limits')),
      refusals,
      uploads,
      uploadUrls,
      logger,
      erasure,
      beganAt: beganAtIn({log, codec}),
      findMarked: {
        inTable: (roomId, marks) => findMarked(pool, roomId, marks),
        inLog: (roomId, marks, range) => markedInChat({log, codec}, roomId, marks, range),
      },
      mail: sendLink(verificationMail, (secret) => `${config.baseUrl}/api/email/verify?token=${secret}`),
      resetMail: sendLink(resetMail, (secret) => `${config.baseUrl}/?reset=${secret}`),
      shownTo: (userId) => sockets.shownTo(userId) ?? startedAt,
      socketEvents: documentedEvents,
      metrics,
    }
    // What this node acknowledged before it was started again it does not remember, so it shows all that the log held then.
    let startedAt: bigint | null = null
    const server = openServer(openHttp(parts))
    const sockets = openSockets(server, {...parts, databaseUrl: url, refuse: refuseHandshake})

    metrics.read({
      position: tail.position,
      projections: () =>
        tables.map(({name, view}) => {
          const {position = null, live = false, fault = null} = applied.states().get(view) ?? {}
          return {name, position, live, fault}
        }),
      sockets: sockets.connected,
      mailsQueued: queue.count,
    })

    const connections = new Set<Socket>()
    server.on('connection', (connection: Socket) => {
      connections.add(connection)
      connection.once('close', () => connections.delete(connection))
    })
    onClose('http', () => closeServer(server, connections))
    // First, because a client that polls gets its answers by new connections.
    onClose('sockets', () => sockets.stop())

    await feed.start()
    startedAt = tail.position()
    // A table that has stopped for good is read as it is once this has been waited for.
    void applied.reached(tables, startedAt ?? -1n, CAUGHT_UP_MS).then(() => {
      startedAt = null
    })
    await presence.start()
    await sockets.start()
    await untilLive(applied)
    const going = tables.filter(({view}) => {
      const state = applied.states().get(view)
      return state?.live && state.fault === null
    })
    await applied.reached(going, startedAt ?? -1n, CATCH_UP_MS)
    const erasing = keepErasing({url, pool, erasure, logger, isReady: () => applied.building(tables).length === 0})
    onClose('erasures', () => erasing.stop())
    const port = await listen(server, config)
    logger.info({url: config.baseUrl, port, ms: Math.round(performance.now() - began)}, 'the server is ready')
    return {port}
  }

  return {
    start,
    stop: async () => {
      for (const {name, close} of opened.reverse()) {
        try {
          await close()
        } catch (error) {
          logger.warn({error: String(error)}, `${name}: did not close in order`)
        }
      }
      opened.length = 0
    },
  }
}

/** New tables, and tables of a log that did not grow meanwhile, are there at once; who must rebuild says so in /readyz. */
const untilLive = async (applied: {building(wanted: typeof tables): string[]}): Promise<void> => {
  const until = performance.now() + READY_MS
  while (applied.building(tables).length > 0 && performance.now() < until)
    await new Promise((resolve) => setTimeout(resolve, 5))
}

const listen = (server: Server, {port, host}: Config): Promise<number> =>
  new Promise((resolve, reject) => {
    const refuse = ({message, code}: NodeJS.ErrnoException) =>
      reject(
        new Error(
          /^(EADDRINUSE|EACCES)$/.test(code ?? '')
            ? `PORT must be one that is free, and that this user may listen at: ${message}`
            : `HOST must be an address of this machine: ${message}`,
        ),
      )
    server.once('error', refuse)
    server.listen({port, host, backlog: BACKLOG}, () => {
      server.off('error', refuse)
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })

/** Takes no new connection, lets what is under way be answered, and cuts what is left after {@link DRAIN_MS}. */
const closeServer = async (server: Server, connections: ReadonlySet<Socket>): Promise<void> => {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  const idle = setInterval(() => server.closeIdleConnections(), 50)
  const late = setTimeout(() => {
    for (const connection of connections) connection.destroy()
  }, DRAIN_MS)
  await closed
  clearInterval(idle)
  clearTimeout(late)
}
