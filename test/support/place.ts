import {randomBytes, randomUUID} from 'node:crypto'
import {Pool} from 'pg'
import {afterAll, beforeAll, describe} from 'vitest'
import {type Execute, openExecute} from '../../src/commands/execute.ts'
import type {FindMarked} from '../../src/commands/sendMessage.ts'
import {makeSchema} from '../../src/database/schema.ts'
import type {DomainEvent} from '../../src/domain/catalogue.ts'
import type {RoomId} from '../../src/domain/room.ts'
import type {UserId} from '../../src/domain/user.ts'
import {READ_MARKS_DDL} from '../../src/edge/readMarks.ts'
import {KEYS_DDL, type KeyStore, openKeyStore} from '../../src/keys/keyStore.ts'
import {openPersonKeys, PERSON_KEYS_DDL, type PersonKeys} from '../../src/keys/personKeys.ts'
import {type Codec, isFaulty, type LoggedEvent, openCodec} from '../../src/log/codec.ts'
import type {EventLog} from '../../src/log/eventLog.ts'
import {openHistory} from '../../src/log/history.ts'
import {openPostgresLog} from '../../src/log/postgresLog.ts'
import {openTail, type Tail} from '../../src/log/tail.ts'
import {type Applied, openApplied} from '../../src/projections/applied.ts'
import {GENERATIONS_DDL} from '../../src/projections/generations.ts'
import {findMarked} from '../../src/projections/messages.ts'
import type {ReadTable} from '../../src/projections/readTable.ts'
import {openRunner, type Runner} from '../../src/projections/runner.ts'
import {tables as allTables} from '../../src/projections/tables.ts'
import {PROOF_DDL} from '../../src/proof/tiles.ts'
import {markedInChat} from '../../src/streams/readChat.ts'
import {
  accessStream,
  chatStream,
  identityStream,
  OPERATIONS_STREAM,
  postStream,
  roomStream,
  userStream,
} from '../../src/streams/streams.ts'
import {createDatabase} from './database.ts'

export type Adapter = EventLog['adapter']

/** What a node has of commands, over a log that it may see through `wrap`. It follows the log only where it was told to. */
export type Node = {log: EventLog; execute: Execute; tail: Tail; findMarked: FindMarked}
/** A node that feeds the read tables as well. */
export type Feeder = Node & {
  applied: Applied
  runner: Runner
  /** Waits until the tables hold all that the log holds now. */
  caughtUp(): Promise<void>
}

/** A fresh log and a fresh database, which several nodes may share. */
export type Place = {
  adapter: Adapter
  databaseUrl: string
  pool: Pool
  log: EventLog
  codec: Codec
  keys: KeyStore
  personKeys: PersonKeys
  logIdentity: string
  openLog(): Promise<EventLog>
  startNode(options?: {wrap?: (log: EventLog) => EventLog; follow?: boolean}): Promise<Node>
  /** `url`: another way to the same database, for what feeds the tables. */
  startFeeder(options?: {tables?: readonly ReadTable[]; logged?: string[]; url?: string}): Promise<Feeder>
  /** These happened: events of one stream that follow each other are one append. */
  given(...events: DomainEvent[]): Promise<void>
  /** What happened since the last `given`, as the log has it, in order. */
  happened(): Promise<DomainEvent[]>
  /** The same with all that the log says of it. */
  logged(): Promise<LoggedEvent[]>
  close(): Promise<void>
}

/** The tests over the log in Postgres, and over EventStoreDB where EVENTSTORE_URL names a server that may be written to. */
export const overEachLog = (tests: (here: {place: Place; node: Node}) => void): void => {
  const adapters: Adapter[] = process.env.EVENTSTORE_URL ? ['postgres', 'eventstoredb'] : ['postgres']
  describe.each(adapters)('over %s', (adapter) => {
    const here = {} as {place: Place; node: Node}
    beforeAll(async () => {
      here.place = await openPlace(adapter)
      here.node = await here.place.startNode()
    })
    afterAll(() => here.place.close())
    tests(here)
  })
}

export const openPlace = async (adapter: Adapter = 'postgres'): Promise<Place> => {
  const databaseUrl = await createDatabase()
  const opened: (() => Promise<unknown>)[] = []
  const pool = new Pool({connectionString: databaseUrl, max: 5})
  opened.push(() => pool.end())
  await makeSchema(pool, [READ_MARKS_DDL, KEYS_DDL, PERSON_KEYS_DDL, GENERATIONS_DDL, PROOF_DDL])
  const keys = await openKeyStore({pool, masterKey: randomBytes(32)})
  const personKeys = openPersonKeys({pool, wrappingKey: keys.wrappingKey})
  const codec = openCodec(personKeys)
  const prefix = `t${randomBytes(6).toString('hex')}.`
  const openLog = async (): Promise<EventLog> => {
    const log = await (adapter === 'postgres' ? openPostgresLog({url: databaseUrl}) : openEventStore(prefix))
    opened.push(() => log.close())
    return log
  }
  const log = await openLog()
  const logIdentity = await openHistory({log, codec, keyCheck: keys.check})
  let given: bigint | null = await log.head()

  const startNode = async ({
    wrap = (inner) => inner,
    follow = false,
  }: {
    wrap?: (log: EventLog) => EventLog
    follow?: boolean
  } = {}): Promise<Node> => {
    const own = wrap(await openLog())
    const execute = openExecute({log: own, codec})
    const tail = openTail({
      log: own,
      codec,
      onEnd: (error) => {
        throw error
      },
    })
    tail.listen(execute.observe)
    if (follow) {
      await tail.start()
      opened.push(() => tail.stop())
    }
    return {
      log: own,
      execute,
      tail,
      findMarked: {
        inTable: (roomId, marks) => findMarked(pool, roomId, marks),
        inLog: (roomId, marks, range) => markedInChat({log: own, codec}, roomId, marks, range),
      },
    }
  }

  const loggedSince = async (position: bigint | null): Promise<LoggedEvent[]> => {
    const events: LoggedEvent[] = []
    for await (const page of log.readAll({after: position})) {
      for (const event of await codec.decode(page)) {
        if (isFaulty(event)) throw new Error(event.fault)
        events.push(event)
      }
    }
    return events
  }

  return {
    adapter,
    databaseUrl,
    pool,
    log,
    codec,
    keys,
    personKeys,
    logIdentity,
    openLog,
    startNode,

    startFeeder: async ({tables = allTables, logged = [], url = databaseUrl} = {}) => {
      const node = await startNode({follow: true})
      const applied = openApplied({url, pool, tables})
      const say = (fields: object, message: string) => void logged.push(`${message} ${JSON.stringify(fields)}`)
      const logger = {info: say, warn: say, error: say}
      const runner = openRunner({
        url,
        pool,
        log: node.log,
        codec,
        logIdentity,
        tail: node.tail,
        tables,
        applied,
        logger,
      })
      await applied.start()
      runner.start()
      opened.push(
        () => applied.stop(),
        () => runner.stop(),
      )
      return {
        ...node,
        applied,
        runner,
        caughtUp: async () => {
          const head = (await log.head())!
          if (!(await applied.reached(tables, head, 10_000))) throw new Error(`the read tables did not reach ${head}`)
        },
      }
    },

    given: async (...events) => {
      let from = 0
      while (from < events.length) {
        const stream = streamOf(events[from]!)
        let to = from + 1
        while (to < events.length && streamOf(events[to]!) === stream && to - from < 100) to++
        const records = []
        for (const event of events.slice(from, to)) {
          const metadata = {
            time: new Date().toISOString(),
            actor: null,
            command: 'given',
            correlationId: randomUUID(),
            causationId: null,
          }
          records.push(await codec.encode({id: randomUUID(), event, metadata}))
        }
        let expected: number | 'none' = 'none'
        for await (const {revision} of log.readStream(stream, {backwards: true, limit: 1})) expected = revision
        const appended = await log.append(stream, records, expected)
        if (!appended.ok) throw new Error(`given, and not taken: ${appended.reason}`)
        from = to
      }
      given = await log.head()
    },

    happened: async () => (await loggedSince(given)).map(({type, data}) => ({type, data}) as DomainEvent),
    logged: () => loggedSince(given),

    close: async () => {
      for (const close of opened.reverse()) await close()
    },
  }
}

const openEventStore = async (prefix: string): Promise<EventLog> => {
  const {openEventStoreDbLog} = await import('../../src/log/eventStoreDbLog.ts')
  return openEventStoreDbLog({url: process.env.EVENTSTORE_URL!, prefix})
}

/** The stream that an event of this type belongs to. */
export const streamOf = ({type, data}: DomainEvent): string => {
  switch (type) {
    case 'HistoryBegan':
      return 'history'
    case 'IdentityClaimed':
    case 'IdentityReleased':
      return identityStream(data.identity)
    case 'PostCreated':
      return postStream(data.postId)
    case 'SignedIn':
    case 'SignInFailed':
    case 'CommandRefused':
      return accessStream(data.userId)
    case 'ProjectionRebuilt':
    case 'ProjectionRolledBack':
    case 'ErasureOrdered':
    case 'MasterKeyRotated':
      return OPERATIONS_STREAM
    case 'MessageSent':
      return chatStream(data.roomId)
    case 'RoomCreated':
    case 'UserInvited':
    case 'UserJoined':
    case 'UserLeft':
    case 'InvitationDeclined':
      return roomStream(data.roomId as RoomId)
    default:
      return userStream(data.userId as UserId)
  }
}
