import {randomUUID} from 'node:crypto'
import {mkdtemp, rm} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {parseArgs} from 'node:util'
import {setFlagsFromString} from 'node:v8'
import {Client} from 'pg'
import {type Execute, openExecute} from '../src/commands/execute.ts'
import {readConfig} from '../src/config.ts'
import {startEmbeddedPostgres} from '../src/database/embeddedPostgres.ts'
import {catalogue, type DomainEvent} from '../src/domain/catalogue.ts'
import type {ChatEvent, MessageId} from '../src/domain/chat.ts'
import type {EventType} from '../src/domain/event.ts'
import type {PostEvent} from '../src/domain/post.ts'
import type {Actor, UserId} from '../src/domain/user.ts'
import {type Foundation, openFoundation} from '../src/foundation.ts'
import {newPostId, newRoomId, newUserId} from '../src/keys/ids.ts'
import {openPersonKeys} from '../src/keys/personKeys.ts'
import {openCodec} from '../src/log/codec.ts'
import {fill} from '../src/projections/fill.ts'
import {beginAnew, readGenerations} from '../src/projections/generations.ts'
import {messages} from '../src/projections/messages.ts'
import type {ReadTable} from '../src/projections/readTable.ts'
import {tables} from '../src/projections/tables.ts'
import {chatFold, chatStream, postFold, postStream} from '../src/streams/streams.ts'
import {feedingBy} from './feeding.ts'

/**
 * What sealing personal data costs: the same code on the same PostgreSQL, with the catalogue as it is and with nothing
 * declared personal, in turn. Wall clock, and processor time of this process, which other load disturbs less.
 *
 *   npm run bench:encryption [-- --quick]
 */
// As the server and the rebuild have it: sharing out garbage would take the core that the database works on.
for (const flag of ['--no-parallel-scavenge', '--semi-space-growth-factor=1', '--heap-growing-percent=200'])
  setFlagsFromString(flag)

const {values: options} = parseArgs({options: {quick: {type: 'boolean', default: false}}})
const ROUNDS = options.quick ? 5 : 7
const EVENTS = options.quick ? 10_000 : 40_000
const APPENDS = options.quick ? 1_000 : 4_000
const IN_FLIGHT = 64
const PEOPLE = 2_000
const TARGET = 0.8

type Variant = {name: 'sealed' | 'plain'; foundation: Foundation; execute: Execute}
type Sample = {wallMs: number; cpuMs: number}

const declared = [...catalogue.values()]
const declare = (name: Variant['name']): void => {
  for (const type of declared) {
    ;(catalogue as Map<string, EventType>).set(type.type, name === 'sealed' ? type : {...type, personal: {}})
  }
}

const people: Actor[] = Array.from({length: PEOPLE}, (_, n) => ({
  userId: newUserId('email') as UserId,
  username: `Person ${n}`,
  isBot: false,
  identity: null,
}))
const rooms = Array.from({length: 200}, newRoomId)
const WORDS = 'the quick brown fox jumps over the lazy dog and what it thinks of that nobody knows '
const textOf = (length: number) => WORDS.repeat(Math.ceil(length / WORDS.length)).slice(0, length)

const message = (n: number, seq: number): ChatEvent => {
  const by = people[n % PEOPLE]!
  const data = {roomId: rooms[n % rooms.length]!, seq, senderId: by.userId, username: by.username, isBot: false}
  const said = {messageId: `m-${n}` as MessageId, content: textOf(200), nonce: `${n}`, key: null}
  return {type: 'MessageSent', data: {...data, ...said, sentAt: new Date().toISOString()}}
}

const post = (n: number): PostEvent => {
  const {userId: authorId, username: authorName} = people[n % PEOPLE]!
  const data = {postId: newPostId(), authorId, authorName, title: textOf(40), body: textOf(1_000), attachments: []}
  return {type: 'PostCreated', data}
}

/** Nine messages, then a post. */
const history = async ({foundation: {log, codec}}: Variant): Promise<void> => {
  const metadata = {
    time: new Date().toISOString(),
    actor: null,
    command: 'bench',
    correlationId: randomUUID(),
    causationId: null,
  }
  const seqs = new Map<string, number>()
  for (const [index, roomId] of rooms.entries()) {
    const events: DomainEvent[] = []
    for (let n = index; n < EVENTS; n += rooms.length) {
      const seq = (seqs.get(roomId) ?? -1) + 1
      seqs.set(roomId, seq)
      events.push(message(n, seq))
    }
    const records = await Promise.all(events.map((event) => codec.encode({id: randomUUID(), event, metadata})))
    await log.append(chatStream(roomId), records, 'none')
  }
  for (let n = 0; n < EVENTS / 10; n++) {
    const event = post(n)
    const record = await codec.encode({id: randomUUID(), event, metadata})
    await log.append(postStream(event.data.postId), [record], 'none')
  }
}

/** Commands, so many at once: nine messages into chats that others write, then a post. */
const append = async ({execute}: Variant, inFlight: number, count: number): Promise<void> => {
  const context = () => ({name: 'bench', actor: null, correlationId: randomUUID()})
  let next = 0
  const one = async () => {
    const n = next++
    if (n % 10 === 0) {
      const event = post(n)
      await execute.execute(postStream(event.data.postId), postFold, context(), () => [event])
    } else {
      const roomId = rooms[n % rooms.length]!
      await execute.execute(chatStream(roomId), chatFold, context(), ({lastSeq}) => [message(n, lastSeq + 1)])
    }
  }
  await Promise.all(
    Array.from({length: inFlight}, async () => {
      while (next < count) await one()
    }),
  )
}

/** In one reading of the log, with no key remembered: as a rebuild begins. */
const rebuild = async ({foundation}: Variant, tables: readonly ReadTable[]): Promise<void> => {
  const {pool, log, keys, logIdentity, url} = foundation
  const codec = openCodec(openPersonKeys({pool, wrappingKey: keys.wrappingKey}))
  const client = new Client({connectionString: url})
  await client.connect()
  await client.query('SET synchronous_commit = off')
  const feeding = feedingBy(client)
  for (const table of tables) {
    const found = await readGenerations(pool, [table])
    await beginAnew(pool, table, {logIdentity, adapter: log.adapter, found})
  }
  const generations = await readGenerations(pool, tables)
  if (generations.some(({position}) => position !== null)) throw new Error('there is nothing left to fill')
  await fill({log, codec}, feeding, generations, {signal: new AbortController().signal})
  await client.end()
}

const measured = async (work: () => Promise<void>): Promise<Sample> => {
  const cpu = process.cpuUsage()
  const began = performance.now()
  await work()
  const {user, system} = process.cpuUsage(cpu)
  return {wallMs: performance.now() - began, cpuMs: (user + system) / 1000}
}

const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!

/** Runs the work for both in turn, once unmeasured, and prints how fast the sealed one is beside the plain one. */
const compare = async (
  title: string,
  count: number,
  variants: Variant[],
  work: (variant: Variant) => Promise<void>,
): Promise<boolean> => {
  const samples = new Map<Variant, Sample[]>(variants.map((variant) => [variant, []]))
  for (let round = -1; round < ROUNDS; round++) {
    for (const variant of round % 2 === 0 ? variants : variants.toReversed()) {
      declare(variant.name)
      const sample = await measured(() => work(variant))
      if (round >= 0) samples.get(variant)!.push(sample)
    }
  }
  const [sealed, plain] = variants.map((variant) => ({
    wall: median(samples.get(variant)!.map(({wallMs}) => wallMs)),
    cpu: median(samples.get(variant)!.map(({cpuMs}) => cpuMs)),
  }))
  const ratio = plain!.wall / sealed!.wall
  const rate = (ms: number) => `${Math.round((count / ms) * 1000).toLocaleString('en')}/s`
  const figures = [
    `${title}: sealed ${rate(sealed!.wall)}, plain ${rate(plain!.wall)}, ratio ${ratio.toFixed(2)}`,
    `(processor ${((sealed!.cpu / count) * 1000).toFixed(1)} and ${((plain!.cpu / count) * 1000).toFixed(1)} µs an event, ratio ${(plain!.cpu / sealed!.cpu).toFixed(2)})`,
  ]
  process.stdout.write(`${figures.join(' ')}\n`)
  return ratio >= TARGET
}

const dataDir = await mkdtemp(join(tmpdir(), 'community-bench-'))
const quiet = {info: () => {}, warn: () => {}, error: () => {}}
const database = await startEmbeddedPostgres({dataDir, logger: quiet, onExit: (reason) => process.stderr.write(reason)})
const variants: Variant[] = []
try {
  const config = readConfig({DATA_DIR: dataDir})
  const secrets = {sessionSecret: '', masterKey: Buffer.alloc(32, 1), nextMasterKey: null}
  const admin = new Client({connectionString: database.url})
  await admin.connect()
  for (const name of ['sealed', 'plain'] as const) {
    await admin.query(`CREATE DATABASE ${name}`)
    const url = database.url.replace(/\/community(?=\?|$)/, `/${name}`)
    const foundation = await openFoundation(config, {url, secrets, onTrouble: () => {}})
    variants.push({name, foundation, execute: openExecute(foundation)})
  }
  await admin.end()
  for (const variant of variants) {
    declare(variant.name)
    await history(variant)
  }
  const total = EVENTS * 1.1
  const met = [
    await compare(`rebuild of all tables from ${total} events`, total, variants, (one) => rebuild(one, tables)),
    await compare('rebuild of messages alone', total, variants, (one) => rebuild(one, [messages])),
    await compare(`append, ${IN_FLIGHT} in flight`, APPENDS, variants, (one) => append(one, IN_FLIGHT, APPENDS)),
    await compare('append, one at a time', APPENDS / 4, variants, (one) => append(one, 1, APPENDS / 4)),
  ]
  process.stdout.write(met.every(Boolean) ? 'Each loses at most 20 %.\n' : 'One loses more than 20 %.\n')
} finally {
  for (const {foundation} of variants) await foundation.close()
  await database.stop()
  await rm(dataDir, {recursive: true, force: true})
}
