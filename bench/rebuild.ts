import {execFile, spawn} from 'node:child_process'
import {randomUUID} from 'node:crypto'
import {mkdtemp, readFile, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {fileURLToPath} from 'node:url'
import {parseArgs, promisify} from 'node:util'
import {Client} from 'pg'
import {pino} from 'pino'
import {readConfig} from '../src/config.ts'
import {startEmbeddedPostgres} from '../src/database/embeddedPostgres.ts'
import {makeSchema} from '../src/database/schema.ts'
import type {DomainEvent} from '../src/domain/catalogue.ts'
import type {MessageId} from '../src/domain/chat.ts'
import type {RoomId} from '../src/domain/room.ts'
import type {Actor} from '../src/domain/user.ts'
import {openFeed} from '../src/feed.ts'
import {type Foundation, openFoundation} from '../src/foundation.ts'
import {newPostId, newRoomId} from '../src/keys/ids.ts'
import type {TailEvent} from '../src/log/tail.ts'
import {feed} from '../src/projections/feeding.ts'
import {beginAnew, GENERATIONS_DDL, type Generation, readGenerations, targetOf} from '../src/projections/generations.ts'
import {messages} from '../src/projections/messages.ts'
import {tables} from '../src/projections/tables.ts'
import {chatStream, postStream, roomStream} from '../src/streams/streams.ts'
import {feedingBy} from './feeding.ts'
import {SECRETS} from './place.ts'
import {people, register as registerAll, settle} from './world.ts'

/**
 * How fast read tables are made again: `projections rebuild --all` as an operator runs it, beside a bare COPY of the same
 * rows into tables with the same keys and indexes, and beside a runner that commits each event durably; from EventStoreDB,
 * where EVENTSTORE_URL names one, beside the bare client; and how soon a row is there, beside a bare durable INSERT. One
 * process, which has the machine's cores; prints what it measured as JSON. figures/rebuild.ts makes rows of it.
 *
 *   node bench/rebuild.ts [--events 1000000] [--from 100000] [--stored 1000000] [--live 2000] [--data DIR]
 */
const {values: options} = parseArgs({
  options: {
    events: {type: 'string', default: '1000000'},
    from: {type: 'string', default: '100000'},
    stored: {type: 'string', default: '1000000'},
    live: {type: 'string', default: '2000'},
    data: {type: 'string'},
  },
})
const SIZES = [Number(options.from), Number(options.events)]

/** Seconds, and bytes where it was looked at. */
export type Measured = {
  rebuilds: {events: number; seconds: number; peakBytes: number; copySeconds: number; copySecondsOfSearch: number}[]
  singly: {events: number; seconds: number}
  live: {ours: number[]; baseline: number[]}
  eventStore: {events: number; rebuilds: {what: string; seconds: number}[]; clientPerSecond: number[]} | null
}
/** All, those that hold what the log is made of but not the words to search by, and the largest of these. */
const FROM_EVENT_STORE = ['--all', 'messages posts rooms', 'messages']
const PEOPLE = 1_000
/** Of 100 events so many are messages, posts, and a room with who joins it. */
const MESSAGES = 85
const POSTS = 10
const ROOM = 5
const AT_ONCE = 64
const COMMITTED_SINGLY = 1_000
const COMMUNITY = fileURLToPath(new URL('../bin/community.js', import.meta.url))
const CLIENT = fileURLToPath(new URL('./baselines/eventStoreReading.ts', import.meta.url))

const say = (what: string): void => void process.stderr.write(`  ${what}\n`)

// --- what happened

/** As frequent as words are in a language: a few often, most of them seldom. */
const vocabulary = Array.from({length: 20_000}, (_, n) => (n * 7_919 + 11).toString(36))
let state = 1
const random = (): number => {
  state = (state * 48_271) % 2_147_483_647
  return state / 2_147_483_647
}
const textOf = (length: number): string => {
  let text = ''
  while (text.length < length) text += `${vocabulary[Math.floor(vocabulary.length ** random())]} `
  return text.slice(0, length)
}

const metadata = () => ({
  time: new Date().toISOString(),
  actor: null,
  command: 'bench',
  correlationId: randomUUID(),
  causationId: null,
})

const one = (of: Actor[]): Actor => of[Math.floor(random() * of.length)]!

const message = (roomId: RoomId, seq: number, by: Actor[]): DomainEvent => {
  const {userId: senderId, username} = one(by)
  const nonce = random() < 0.5 ? randomUUID() : null
  const said = {messageId: `m-${randomUUID()}` as MessageId, content: textOf(200), nonce, key: null}
  const data = {roomId, seq, senderId, username, isBot: false, ...said, sentAt: new Date().toISOString()}
  return {type: 'MessageSent', data}
}

const append = async ({log, codec}: Foundation, stream: string, events: DomainEvent[], from = 0): Promise<void> => {
  const common = metadata()
  const records = await Promise.all(events.map((event) => codec.encode({id: randomUUID(), event, metadata: common})))
  const result = await log.append(stream, records, from === 0 ? 'none' : from - 1)
  if (!result.ok) throw new Error(`${stream} was not appended: ${result.reason}`)
}

const register = (foundation: Foundation, by: Actor[]): Promise<void> =>
  registerAll(
    {
      append: async (appends) => {
        for (const {stream, events} of appends) await append(foundation, stream, events)
      },
    },
    by,
  )

const grown = new WeakMap<Foundation, {roomId: RoomId; said: number}[]>()

/** Appends to the log until it holds so many events, in the order in which a community makes them. Answers how many. */
const grow = async (foundation: Foundation, by: Actor[], until: number): Promise<number> => {
  const rooms = grown.get(foundation) ?? []
  grown.set(foundation, rooms)
  let there =
    rooms.length === 0 ? 2 * PEOPLE + 1 : rooms.reduce((sum, {said}) => sum + said + ROOM + POSTS, 2 * PEOPLE + 1)
  const under = new Set<Promise<void>>()
  const begin = async (stream: string, events: DomainEvent[], from = 0) => {
    there += events.length
    const done = append(foundation, stream, events, from).finally(() => under.delete(done))
    under.add(done)
    if (under.size >= AT_ONCE) await Promise.race(under)
  }
  while (there < until) {
    const roomId = newRoomId()
    const join = ({userId, username}: Actor): DomainEvent => ({
      type: 'UserJoined',
      data: {roomId, userId, username, isBot: false, invitation: null},
    })
    const creatorId = one(by).userId
    const created: DomainEvent = {type: 'RoomCreated', data: {roomId, creatorId, name: textOf(20), visibility: 'open'}}
    const guests = Array.from({length: ROOM - 1}, () => one(by))
    await begin(roomStream(roomId), [created, ...guests.map(join)])
    for (let n = 0; n < POSTS; n++) {
      const {userId: authorId, username: authorName} = one(by)
      const postId = newPostId()
      const data = {postId, authorId, authorName, title: textOf(40), body: textOf(200), attachments: []}
      await begin(postStream(postId), [{type: 'PostCreated', data}])
    }
    rooms.push({roomId, said: 0})
    // Older rooms go on as well, so that a table is not written at one end alone.
    const talked = new Set([rooms.at(-1)!, rooms[Math.floor(random() * rooms.length)]!])
    // Appends to one stream follow each other.
    await Promise.all(under)
    for (const room of talked) {
      const count = Math.ceil(MESSAGES / talked.size)
      const events = Array.from({length: count}, (_, n) => message(room.roomId, room.said + n, by))
      await begin(chatStream(room.roomId), events, room.said)
      room.said += count
    }
  }
  await Promise.all(under)
  return there
}

// --- the sides

type Run = {seconds: number; peakBytes: number}

/** The command as an operator runs it, with its peak of memory. */
const rebuild = async (what: string, env: NodeJS.ProcessEnv): Promise<Run> => {
  const began = performance.now()
  const child = spawn(process.execPath, [COMMUNITY, 'projections', 'rebuild', ...what.split(' '), '--json'], {
    env: {PATH: process.env.PATH, ...SECRETS, NODE_ENV: '', ...env},
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let peakBytes = 0
  const look = setInterval(async () => {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
    peakBytes = Math.max(peakBytes, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024)
  }, 50)
  let said = ''
  child.stdout.on('data', (chunk) => {
    said += chunk
  })
  const status = await new Promise((resolve) => child.once('close', resolve))
  clearInterval(look)
  if (status !== 0) throw new Error(`the rebuild failed: ${said}`)
  return {seconds: (performance.now() - began) / 1000, peakBytes}
}

const withClient = async <T>(url: string, work: (client: Client) => Promise<T>): Promise<T> => {
  const client = new Client({connectionString: url})
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

/** The tables as a server makes them at its first start: what is measured is made beside them. */
const catchUp = async (foundation: Foundation): Promise<void> => {
  await foundation.pool.query('DROP SCHEMA read CASCADE')
  await makeSchema(foundation.pool, [GENERATIONS_DDL])
  const feed = openFeed(foundation, {logger: pino({level: 'silent'}), onFatal: say})
  await feed.start()
  const head = (await foundation.log.head())!
  while (feed.applied.building(tables).length > 0 || !(await feed.applied.reached(tables, head, 1_000))) await pause(50)
  await feed.stop()
}

const liveOf = async ({pool}: Foundation): Promise<Generation[]> =>
  (await readGenerations(pool, tables)).filter(({state}) => state === 'live')

/** The same rows, from files on the server, into tables that have their keys and indexes already. Seconds by table. */
const copyAll = async (foundation: Foundation, folder: string): Promise<Map<string, number>> => {
  const live = await liveOf(foundation)
  return withClient(foundation.url, async (client) => {
    await client.query('SET synchronous_commit = off')
    const taken = new Map<string, number>()
    for (const one of live) {
      const {name} = one.table
      const file = `'${folder}/${name}.copy'`
      await client.query(`COPY ${targetOf(one)} TO ${file}`)
      await client.query(`CREATE TABLE bare_${name} (LIKE ${targetOf(one)} INCLUDING ALL)`)
      await client.query('CHECKPOINT')
      const began = performance.now()
      await client.query(`COPY bare_${name} FROM ${file}`)
      taken.set(name, (performance.now() - began) / 1000)
      await client.query(`DROP TABLE bare_${name}`)
    }
    return taken
  })
}

/** As a simple runner does it: read an event, apply it to every table, commit, durably; then the next. */
const commitSingly = async ({pool, log, codec, logIdentity, url}: Foundation, count: number): Promise<number> => {
  const own = tables.map((table) => ({...table, view: `${table.view}_singly`}))
  for (const table of own) await beginAnew(pool, table, {logIdentity, adapter: log.adapter})
  const generations = await readGenerations(pool, own)
  const events: TailEvent[] = []
  // Past the registrations that the log begins with: they are little work.
  for await (const page of log.readAll({after: BigInt(2 * PEOPLE + 1), limit: count}))
    events.push(...(await codec.decode(page)))
  const seconds = await withClient(url, async (client) => {
    const feeding = feedingBy(client)
    const began = performance.now()
    for (const event of events) await feed(feeding, generations, [event])
    return (performance.now() - began) / 1000
  })
  for (const table of own) {
    await pool.query(`DROP VIEW ${table.view}`)
    await pool.query(`DROP TABLE ${targetOf({table, generation: 1})}`)
    await pool.query('DELETE FROM read.generations WHERE view = $1', [table.view])
  }
  return seconds
}

/** From the append of one message, durably, until a query sees its row; and a durable INSERT of as much, in turn. */
const measureLive = async (foundation: Foundation, by: Actor[], count: number): Promise<Measured['live']> => {
  const {log, codec, pool, url} = foundation
  const feed = openFeed(foundation, {logger: pino({level: 'silent'}), onFatal: say})
  await feed.start()
  const roomId = newRoomId()
  const ours: number[] = []
  const baseline: number[] = []
  await withClient(url, async (client) => {
    await client.query('CREATE TABLE bare_events (LIKE log.events INCLUDING ALL)')
    for (let n = 0; n < count; n++) {
      const record = await codec.encode({id: randomUUID(), event: message(roomId, n, by), metadata: metadata()})
      const began = performance.now()
      const result = await log.append(chatStream(roomId), [record], n === 0 ? 'none' : n - 1)
      if (!result.ok || !(await feed.applied.reached([messages], result.position, 10_000))) throw new Error('not there')
      const {rowCount} = await pool.query(`SELECT FROM ${messages.view} WHERE room_id = $1 AND seq = $2`, [roomId, n])
      if (rowCount !== 1) throw new Error('a row that was there can not be seen')
      ours.push(performance.now() - began)
      const {id, type, data, metadata: meta} = record
      const inserting = performance.now()
      await client.query(
        'INSERT INTO bare_events (position, stream, revision, id, type, data, metadata) VALUES ($1, $2, $3, $4, $5, $6, $7)',
        [n, chatStream(roomId), n, id, type, JSON.stringify(data), JSON.stringify(meta)],
      )
      baseline.push(performance.now() - inserting)
    }
    await client.query('DROP TABLE bare_events')
  })
  await feed.stop()
  return {ours, baseline}
}

/** How many events a second the client alone reads, in a process of its own like the command. */
const readByClient = async (url: string, atLeast: number): Promise<number> => {
  const {stdout} = await promisify(execFile)(process.execPath, [CLIENT, JSON.stringify({url})])
  const {read, perSecond} = JSON.parse(stdout) as {read: number; perSecond: number}
  if (read < atLeast) throw new Error(`the client read ${read} of ${atLeast} events`)
  return perSecond
}

/** The same command with the log in EventStoreDB, and its client before and after each. */
const measureEventStore = async (databaseUrl: string, count: number): Promise<Measured['eventStore']> => {
  const eventStoreUrl = process.env.EVENTSTORE_URL
  if (!eventStoreUrl) return null
  await withClient(databaseUrl, (client) => client.query('CREATE DATABASE of_event_store'))
  const prefix = `bench${Date.now()}.`
  const env = {
    ...SECRETS,
    DATABASE_URL: databaseUrl.replace(/\/community(?=\?|$)/, '/of_event_store'),
    EVENTSTORE_URL: eventStoreUrl,
    EVENTSTORE_PREFIX: prefix,
  }
  const foundation = await open(env, env.DATABASE_URL)
  try {
    const by = people(PEOPLE)
    await register(foundation, by)
    const events = await grow(foundation, by, count)
    await catchUp(foundation)
    const rebuilds: {what: string; seconds: number}[] = []
    await settle(env.DATABASE_URL)
    const clientPerSecond = [await readByClient(eventStoreUrl, events)]
    for (const what of FROM_EVENT_STORE) {
      const {seconds, peakBytes} = await rebuild(what, env)
      await settle(env.DATABASE_URL)
      clientPerSecond.push(await readByClient(eventStoreUrl, events))
      const ours = `${Math.round(events / seconds)}/s, ${Math.round(peakBytes / 2 ** 20)} MiB`
      say(`${what} from EventStoreDB: ${ours}; the client: ${Math.round(clientPerSecond.at(-1)!)}/s`)
      rebuilds.push({what, seconds})
    }
    return {events, rebuilds, clientPerSecond}
  } finally {
    await foundation.close()
  }
}

// --- the run

const open = (env: NodeJS.ProcessEnv, url: string): Promise<Foundation> => {
  const config = readConfig(env)
  const masterKey = Buffer.from(config.masterKey!, 'base64')
  const secrets = {sessionSecret: config.sessionSecret!, masterKey, nextMasterKey: null}
  return openFoundation(config, {url, secrets, onTrouble: say})
}

const dataDir = options.data ?? (await mkdtemp(join(tmpdir(), 'community-rebuild-')))
const quiet = {info: () => {}, warn: () => {}, error: () => {}}
const database = await startEmbeddedPostgres({dataDir, logger: quiet, onExit: say})
const foundation = await open({...SECRETS, DATA_DIR: dataDir}, database.url)
try {
  const by = people(PEOPLE)
  await register(foundation, by)
  const rebuilds: Measured['rebuilds'] = []
  for (const size of SIZES) {
    let began = performance.now()
    const events = await grow(foundation, by, size)
    say(`${events} events are there after ${((performance.now() - began) / 1000).toFixed(1)} s`)
    await settle(database.url)
    began = performance.now()
    await catchUp(foundation)
    say(`the live tables are there after ${((performance.now() - began) / 1000).toFixed(1)} s`)
    const {seconds, peakBytes} = await rebuild('--all', {DATA_DIR: dataDir})
    say(`rebuild: ${seconds.toFixed(1)} s, ${Math.round(events / seconds)}/s, ${Math.round(peakBytes / 2 ** 20)} MiB`)
    const copied = await copyAll(foundation, join(dataDir, 'postgres'))
    const copySeconds = [...copied.values()].reduce((sum, one) => sum + one)
    say(
      `COPY: ${copySeconds.toFixed(1)} s (${[...copied].map(([name, one]) => `${name} ${one.toFixed(1)}`).join(', ')})`,
    )
    rebuilds.push({events, seconds, peakBytes, copySeconds, copySecondsOfSearch: copied.get('search')!})
  }
  const count = Math.min(COMMITTED_SINGLY, SIZES[0]!)
  const singly = {events: count, seconds: await commitSingly(foundation, count)}
  say(`one by one: ${Math.round(singly.events / singly.seconds)}/s`)
  const live = await measureLive(foundation, by, Number(options.live))
  const eventStore = await measureEventStore(database.url, Number(options.stored))
  const measured: Measured = {rebuilds, singly, live, eventStore}
  process.stdout.write(`${JSON.stringify(measured)}\n`)
} finally {
  await foundation.close()
  await database.stop()
  if (options.data === undefined) await rm(dataDir, {recursive: true, force: true})
}
