import {createHmac, randomBytes, randomUUID} from 'node:crypto'
import {Client} from 'pg'
import {readConfig} from '../src/config.ts'
import type {DomainEvent} from '../src/domain/catalogue.ts'
import type {IdentityHash} from '../src/domain/identity.ts'
import type {RoomId} from '../src/domain/room.ts'
import type {Actor} from '../src/domain/user.ts'
import {type Foundation, openFoundation} from '../src/foundation.ts'
import {newMessageId, newPostId, newUserId} from '../src/keys/ids.ts'
import {fill} from '../src/projections/fill.ts'
import {addIndexes, beginAnew, goLive, readGenerations} from '../src/projections/generations.ts'
import {tables} from '../src/projections/tables.ts'
import {chatStream, identityStream, postStream, roomStream, userStream} from '../src/streams/streams.ts'
import {feedingBy} from './feeding.ts'
import {SECRETS} from './place.ts'

/** Appends that are under way at once: as many as two statements of the log take. */
const IN_FLIGHT = 512

/** `after`: the stream's last revision; left out where it does not exist yet. */
export type Append = {stream: string; events: DomainEvent[]; after?: number}

export type World = {
  foundation: Foundation
  /** Appends through codec and log, many at once. */
  append(appends: Iterable<Append>): Promise<void>
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
  await settle(url)
}

/** What PostgreSQL would do by and by, beside what is measured next. */
export const settle = async (url: string): Promise<void> => {
  const client = new Client({connectionString: url})
  await client.connect()
  await client.query('VACUUM ANALYZE')
  await client.query('CHECKPOINT')
  await client.end()
}

const append = async ({log, codec}: Foundation, appends: Iterable<Append>): Promise<void> => {
  const metadata = {
    time: new Date().toISOString(),
    actor: null,
    command: 'bench',
    correlationId: randomUUID(),
    causationId: null,
  }
  const iterator = appends[Symbol.iterator]()
  const one = async (): Promise<void> => {
    for (;;) {
      const {done, value} = iterator.next()
      if (done) return
      const {stream, events, after = -1} = value
      const records = []
      for (const event of events) records.push(await codec.encode({id: randomUUID(), event, metadata}))
      const result = await log.append(stream, records, after === -1 ? 'none' : after)
      if (!result.ok) throw new Error(`${stream} was not appended: ${result.reason}`)
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
  const feeding = feedingBy(client)
  await fill({log, codec}, feeding, generations, {signal: new AbortController().signal})
  for (const generation of generations) {
    await addIndexes(client, generation)
    await goLive(pool, generation)
  }
  await client.end()
}

// --- people and what they write

const WORDS = 'the quick brown fox jumps over the lazy dog and what it thinks of that nobody knows '
export const textOf = (length: number): string => WORDS.repeat(Math.ceil(length / WORDS.length)).slice(0, length)

/** As frequent as words are in a language: a few often, most of them seldom. */
export const vocabulary = Array.from({length: 20_000}, (_, n) => (n * 7_919 + 11).toString(36))
const proseOf = (length: number): string => {
  let text = ''
  while (text.length < length) text += `${vocabulary[Math.floor(vocabulary.length ** Math.random())]} `
  return text.slice(0, length)
}

export const people = (count: number): Actor[] =>
  Array.from({length: count}, (_, n) => ({
    userId: newUserId('email'),
    username: `Person ${n}`,
    isBot: false,
    identity: randomBytes(32).toString('hex') as IdentityHash,
  }))

/** Registers these people, as they are once they have used the link in their mail. */
export const register = async (
  {append}: Pick<World, 'append'>,
  of: readonly Actor[],
  {passwordHash = null, email = emailOf}: {passwordHash?: string | null; email?: (userId: string) => string} = {},
): Promise<void> => {
  await append(
    of.map(({userId, username, identity}) => {
      const about = {userId, provider: 'email' as const, identity: identity!, email: email(userId), username}
      const data = {...about, passwordHash, tokenHash: null, tokenExpiresAt: null}
      return {stream: userStream(userId), events: [{type: 'UserRegistered', data}]}
    }),
  )
  await append(
    of.map(({userId, identity}) => {
      const data = {identity: identity!, userId}
      return {stream: identityStream(identity!), events: [{type: 'IdentityClaimed', data}]}
    }),
  )
}

const emailOf = (userId: string): string => `${userId.slice(-12)}@example.com`

/** Posts of `characters` of text each, by these people in turn. */
export function* postsBy(by: readonly Actor[], count: number, characters = 200): Generator<Append> {
  for (let n = 0; n < count; n++) {
    const {userId: authorId, username: authorName} = by[n % by.length]!
    const postId = newPostId()
    const data = {postId, authorId, authorName, title: `Post number ${n}`, body: proseOf(characters), attachments: []}
    yield {stream: postStream(postId), events: [{type: 'PostCreated', data}]}
  }
}

/** A room that these people are in. */
export const roomOf = (roomId: RoomId, members: readonly Actor[], name = 'A room'): Append => {
  const creatorId = members[0]!.userId
  const joined = members.map(
    ({userId, username}): DomainEvent => ({
      type: 'UserJoined',
      data: {roomId, userId, username, isBot: false, invitation: null},
    }),
  )
  const created: DomainEvent = {type: 'RoomCreated', data: {roomId, name, visibility: 'invite', creatorId}}
  return {stream: roomStream(roomId), events: [created, ...joined]}
}

/** What was said in a room, each append standing on the one before. */
export function* said(roomId: RoomId, members: readonly Actor[], count: number): Generator<Append> {
  for (let first = 0; first < count; first += 200) {
    const events: DomainEvent[] = []
    for (let seq = first; seq < Math.min(count, first + 200); seq++) {
      const {userId: senderId, username} = members[seq % members.length]!
      const what = {
        messageId: newMessageId(),
        content: proseOf(100),
        nonce: randomUUID(),
        key: null,
        sentAt: new Date().toISOString(),
      }
      events.push({type: 'MessageSent', data: {roomId, seq, senderId, username, isBot: false, ...what}})
    }
    yield {stream: chatStream(roomId), events, after: first - 1}
  }
}

/** The Cookie header of a new session of this person: the row and the signature that signing in gives. */
export const signIn = async (url: string, of: readonly {userId: string}[]): Promise<string[]> => {
  const client = new Client({connectionString: url})
  await client.connect()
  const maxAge = 30 * 86_400_000
  const expires = new Date(Date.now() + maxAge)
  const cookie = {originalMaxAge: maxAge, expires, secure: false, httpOnly: true, path: '/', sameSite: 'lax'}
  const sids = of.map(() => randomBytes(24).toString('base64url'))
  const sessions = of.map(({userId}) =>
    JSON.stringify({cookie, userId, signedInAt: Date.now(), day: Math.floor(Date.now() / 86_400_000)}),
  )
  await client.query(
    'INSERT INTO state.sessions (sid, sess, expire) SELECT sid, sess, $3 FROM unnest($1::text[], $2::json[]) AS s(sid, sess)',
    [sids, sessions, expires],
  )
  await client.end()
  return sids.map((sid) => {
    const signature = createHmac('sha256', SECRETS.SESSION_SECRET).update(sid).digest('base64').replace(/=+$/, '')
    return `sid=${encodeURIComponent(`s:${sid}.${signature}`)}`
  })
}
