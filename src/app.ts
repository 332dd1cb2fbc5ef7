import {createServer} from 'node:http'
import {Pool} from 'pg'
import {type Logger, pino} from 'pino'
import {openExecute} from './commands/execute.ts'
import type {Config} from './config.ts'
import {startEmbeddedPostgres} from './database/embeddedPostgres.ts'
import {makeSchema} from './database/schema.ts'
import {takeServerLease} from './database/serverLease.ts'
import {LIMITS_DDL, openLimits} from './edge/limits.ts'
import type {Parts} from './edge/parts.ts'
import {openSessions, SESSIONS_DDL} from './edge/sessions.ts'
import {openHttp} from './http/app.ts'
import {KEYS_DDL, openKeyStore} from './keys/keyStore.ts'
import {loadSecrets} from './keys/secrets.ts'
import {openCodec} from './log/codec.ts'
import {openHistory} from './log/history.ts'
import {openPostgresLog} from './log/postgresLog.ts'
import {openTail} from './log/tail.ts'
import {MAIL_QUEUE_DDL, openMailQueue} from './mail/mailQueue.ts'
import {openTransport} from './mail/transport.ts'
import {verificationMail} from './mail/verificationMail.ts'
import {openApplied} from './projections/applied.ts'
import {GENERATIONS_DDL} from './projections/generations.ts'
import {findNonce} from './projections/messages.ts'
import {openRunner} from './projections/runner.ts'
import {tables} from './projections/tables.ts'
import {openSockets} from './realtime/sockets.ts'
import {readChat} from './streams/readChat.ts'

const READY_MS = 1_500
const DRAIN_MS = 4_000

export type App = {
  /** Resolves when it listens. */
  start(): Promise<{port: number}>
  /** Answers what is under way, then lets go of everything, last opened first. */
  stop(): Promise<void>
}

/** The composition root. `onFatal`: the process can't go on and should end; `stop` has not run yet. */
export const openApp = (
  config: Config,
  {logger = pino({level: config.logLevel}), onFatal}: {logger?: Logger; onFatal: (reason: string) => void},
): App => {
  const opened: {name: string; close: () => Promise<unknown>}[] = []
  const onClose = (name: string, close: () => Promise<unknown>) => opened.push({name, close})

  const openDatabase = async (): Promise<string> => {
    if (config.databaseUrl !== null) return config.databaseUrl
    const database = await startEmbeddedPostgres({
      dataDir: config.dataDir,
      logger,
      onExit: (reason) => onFatal(`the embedded PostgreSQL ended: ${reason}`),
    })
    onClose('embedded PostgreSQL', () => database.stop())
    const lease = await takeServerLease({
      url: database.url,
      onLost: () => onFatal('another server has taken over this data directory'),
    })
    onClose('lease of the data directory', () => lease.release())
    return database.url
  }

  const openLog = async (databaseUrl: string) => {
    const onTrouble = (what: string, error: unknown) => logger.warn({error: String(error)}, what)
    if (!config.eventStore) return openPostgresLog({url: databaseUrl, onTrouble})
    const {openEventStoreDbLog} = await import('./log/eventStoreDbLog.ts')
    return openEventStoreDbLog({...config.eventStore, onTrouble})
  }

  const start = async (): Promise<{port: number}> => {
    const began = performance.now()
    const secrets = await loadSecrets(config)
    const url = await openDatabase()
    const pool = new Pool({
      connectionString: url,
      application_name: 'community',
      max: 20,
      connectionTimeoutMillis: 3_000,
      query_timeout: 10_000,
      keepAlive: true,
    })
    pool.on('error', (error) => logger.warn({error: String(error)}, 'a connection to the database was lost'))
    onClose('database connections', () => pool.end())
    await makeSchema(pool, [SESSIONS_DDL, LIMITS_DDL, MAIL_QUEUE_DDL, KEYS_DDL, GENERATIONS_DDL])

    const codec = openCodec()
    const [keys, log] = await Promise.all([openKeyStore({pool, masterKey: secrets.masterKey}), openLog(url)])
    onClose('log', () => log.close())
    const logIdentity = await openHistory({log, codec, keyCheck: keys.check})

    const tail = openTail({
      log,
      codec,
      onEnd: (error) => onFatal(`the log can't be followed any more: ${String(error)}`),
    })
    onClose('tail', () => tail.stop())
    const execute = openExecute({log, codec})
    tail.listen(execute.observe)

    const applied = openApplied({url, pool, tables})
    onClose('read table listener', () => applied.stop())
    const runner = openRunner({url, pool, log, logIdentity, tail, tables, applied, logger})
    onClose('projections', () => runner.stop())

    const queue = openMailQueue({
      pool,
      masterKey: secrets.masterKey,
      transport: openTransport(config.mail, logger),
      isInLog: async (stream, eventId) => {
        for await (const {id} of log.readStream(stream)) if (id === eventId) return true
        return false
      },
      logger,
    })
    onClose('mail', () => queue.stop())

    const sessions = openSessions({pool, secret: secrets.sessionSecret, secure: config.baseUrl.startsWith('https:')})
    onClose('sessions', async () => sessions.stop())

    const parts: Parts = {
      config,
      pool,
      log,
      tail,
      applied,
      execute,
      keys,
      sessions,
      limits: openLimits(pool, config.limits),
      logger,
      findNonce: {
        inTable: (roomId, senderId, nonce) => findNonce(pool, roomId, senderId, nonce),
        inLog: async (roomId, senderId, nonce, {after, before}) => {
          for await (const message of readChat({log, codec}, roomId, {after, upTo: before - 1})) {
            if (message.senderId === senderId && message.nonce === nonce) return message
          }
          return null
        },
      },
      mail: {
        enqueue: ({to, username, attemptedAt, token, awaits}) => {
          const link = `${config.baseUrl}/api/email/verify?token=${token.secret}`
          return queue.enqueue(verificationMail({to, username, attemptedAt, link}), awaits)
        },
        release: (eventId) => queue.release(eventId),
      },
      shownTo: (userId) => sockets.shownTo(userId),
    }
    const server = createServer(openHttp(parts))
    server.requestTimeout = 60_000
    const sockets = openSockets(server, {...parts, codec})

    await tail.start()
    await applied.start()
    runner.start()
    await untilLive(applied)
    const port = await listen(server, config)
    onClose('http', () => closeServer(server))
    onClose('sockets', () => sockets.stop())
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
  const until = Date.now() + READY_MS
  while (applied.building(tables).length > 0 && Date.now() < until)
    await new Promise((resolve) => setTimeout(resolve, 5))
}

const listen = (server: ReturnType<typeof createServer>, {port, host}: Config): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })

const closeServer = async (server: ReturnType<typeof createServer>): Promise<void> => {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const late = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  await closed
  clearTimeout(late)
}
