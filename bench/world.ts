import {createHash, randomBytes, randomUUID} from 'node:crypto'
import {Client} from 'pg'
import {readConfig} from '../src/config.ts'
import type {DomainEvent} from '../src/domain/catalogue.ts'
import type {IdentityHash} from '../src/domain/identity.ts'
import type {Actor} from '../src/domain/user.ts'
import {type Foundation, openFoundation} from '../src/foundation.ts'
import {newPostId, newUserId} from '../src/keys/ids.ts'
import type {TailEvent} from '../src/log/tail.ts'
import {type Feeding, feed} from '../src/projections/feeding.ts'
import {beginAnew, goLive, readGenerations} from '../src/projections/generations.ts'
import {tables} from '../src/projections/tables.ts'
import {identityStream, postStream, userStream} from '../src/streams/streams.ts'
import {SECRETS} from './place.ts'

/** Appends that are under way at once: as many as two statements of the log take. */
const IN_FLIGHT = 512
const FOLDED_TOGETHER = 4_000

export type Appends =
  | AsyncIterable<{stream: string; events: DomainEvent[]}>
  | Iterable<{stream: string; events: DomainEvent[]}>

export type World = {
  foundation: Foundation
  /** Appends through codec and log: each to a stream that does not exist yet. */
  append(appends: Appends): Promise<void>
}

/** Fills a database: `tell` appends events, then every read table is made from them by its own handlers. */
export const fillWorld = async (url: string, tell: (world: World) => Promise<void>): Promise<void> => {
  const config = readConfig({...SECRETS, DATABASE_URL: url})
  const secrets = {sessionSecret: config.sessionSecret!, masterKey: Buffer.from(config.masterKey!, 'base64')}
  const foundation = await openFoundation(config, {
    url,
    secrets: {...secrets, nextMasterKey: null},
    onTrouble: (what, error) => process.stderr.write(`${what}: ${String(error)}\n`),
  })
  try {
    await tell({foundation, append: (appends) => append(foundation, appends)})
    await project(foundation)
  } finally {
    await foundation.close()
  }
  // What autovacuum would have done by and by.
  const client = new Client({connectionString: url})
  await client.connect()
  await client.query('VACUUM ANALYZE')
  await client.query('CHECKPOINT')
  await client.end()
}

const append = async ({log, codec}: Foundation, appends: Appends): Promise<void> => {
  const metadata = {
    time: new Date().toISOString(),
    actor: null,
    command: 'bench',
    correlationId: randomUUID(),
    causationId: null,
  }
  const iterator = Symbol.asyncIterator in appends ? appends[Symbol.asyncIterator]() : appends[Symbol.iterator]()
  const one = async (): Promise<void> => {
    for (;;) {
      const {done, value} = await iterator.next()
      if (done) return
      const records = []
      for (const event of value.events) records.push(await codec.encode({id: randomUUID(), event, metadata}))
      const result = await log.append(value.stream, records, 'none')
      if (!result.ok) throw new Error(`${value.stream} was not appended: ${result.reason}`)
    }
  }
  await Promise.all(Array.from({length: IN_FLIGHT}, one))
}

/** Every table in one reading of the log. */
const project = async ({pool, log, codec, logIdentity, url}: Foundation): Promise<void> => {
  for (const table of tables) await beginAnew(pool, table, {logIdentity, adapter: log.adapter})
  const generations = await readGenerations(pool, tables)
  const client = new Client({connectionString: url})
  await client.connect()
  await client.query('SET synchronous_commit = off')
  const feeding: Feeding = {
    client,
    termOf: () => null,
    advanced: () => {},
    failed: async (_, why) => {
      throw new Error(why)
    },
  }
  let gathered: TailEvent[] = []
  let written = Promise.resolve()
  const write = async () => {
    await written
    const events = gathered
    gathered = []
    if (events.length > 0) written = feed(feeding, generations, events)
  }
  for await (const records of log.readAll()) {
    gathered.push(...(await codec.decode(records)))
    if (gathered.length >= FOLDED_TOGETHER) await write()
  }
  await write()
  await written
  await client.end()
  for (const generation of generations) await goLive(pool, generation)
}

// --- people and what they write

const WORDS = 'the quick brown fox jumps over the lazy dog and what it thinks of that nobody knows '
export const textOf = (length: number): string => WORDS.repeat(Math.ceil(length / WORDS.length)).slice(0, length)

export const people = (count: number): Actor[] =>
  Array.from({length: count}, (_, n) => ({
    userId: newUserId('email'),
    username: `Person ${n}`,
    isBot: false,
    identity: randomBytes(32).toString('hex') as IdentityHash,
  }))

/** People as they are once they have used the link in their mail. */
export function* registrations(
  of: readonly Actor[],
  passwordHash: string | null = null,
): Generator<{stream: string; events: DomainEvent[]}> {
  for (const {userId, username, identity} of of) {
    const data = {userId, provider: 'email' as const, identity: identity!, username, passwordHash}
    const email = `${createHash('sha256').update(userId).digest('hex').slice(0, 12)}@example.com`
    const registered = {type: 'UserRegistered' as const, data: {...data, email, tokenHash: null, tokenExpiresAt: null}}
    yield {stream: userStream(userId), events: [registered]}
    yield {
      stream: identityStream(identity!),
      events: [{type: 'IdentityClaimed', data: {identity: identity!, userId}}],
    }
  }
}

/** Posts of `characters` of text each, by these people in turn. */
export function* postsBy(
  by: readonly Actor[],
  count: number,
  characters = 200,
): Generator<{stream: string; events: DomainEvent[]}> {
  const body = textOf(characters)
  for (let n = 0; n < count; n++) {
    const {userId: authorId, username: authorName} = by[n % by.length]!
    const postId = newPostId()
    const data = {postId, authorId, authorName, title: `Post number ${n}`, body, attachments: []}
    yield {stream: postStream(postId), events: [{type: 'PostCreated', data}]}
  }
}
