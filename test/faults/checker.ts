import type {TestContext} from 'vitest'
import {expect} from 'vitest'
import {readConfig} from '../../src/config.ts'
import {findEmbeddedPostgres} from '../../src/database/embeddedPostgres.ts'
import {openFoundation} from '../../src/foundation.ts'
import {loadSecrets} from '../../src/keys/secrets.ts'
import {isFaulty} from '../../src/log/codec.ts'
import {messageOf} from '../../src/projections/messages.ts'
import {community} from '../support/commandLine.ts'
import {eventually} from '../support/eventually.ts'
import {type Person, visit} from '../support/server.ts'

export type Message = ReturnType<typeof messageOf>
type Post = {id: string; title: string}

/** What one client did and was told. `sent`: in the order in which it sent them; `received`: in the order they came. */
export type Told = {name: string; sent: Message[]; posted: Post[]; received: Message[]; posts: Post[]}
/** What the log and the read tables hold, in their order. `nonce`: of the sender, where there is one. */
export type Held = {
  messages: {message: Message; nonce: string | null}[]
  posts: Post[]
  tables: {messages: Message[]; posts: Post[]}
}
export type Verdict = {acknowledged: number; lost: string[]; doubled: string[]; outOfOrder: string[]}

/** Compares what was acknowledged, what is held and what each socket received, of one room and of the posts. */
export const judge = (clients: readonly Told[], {messages, posts, tables}: Held): Verdict => {
  const lost: string[] = []
  const doubled: string[] = []
  const outOfOrder: string[] = []
  const logged = messages.map(({message}) => message)
  const bySeq = new Map(logged.map((message) => [message.seq, message]))
  const same = (one: object | undefined, other: object) => JSON.stringify(one) === JSON.stringify(other)
  const repeated = (where: string, keys: readonly string[]) => {
    const seen = new Set<string>()
    for (const key of keys) {
      if (seen.has(key)) doubled.push(`${where}: ${key}`)
      seen.add(key)
    }
  }
  const ascending = (where: string, seqs: readonly number[]) => {
    for (const [index, seq] of seqs.entries())
      if (index > 0 && seq <= seqs[index - 1]!) outOfOrder.push(`${where}: ${seq} after ${seqs[index - 1]}`)
  }

  repeated(
    'the log, by nonce',
    messages.flatMap(({message, nonce}) => (nonce === null ? [] : [`${message.userId} ${nonce}`])),
  )
  // Every text is sent once.
  repeated(
    'the log, by text',
    logged.map(({content}) => content),
  )
  repeated(
    'the log, by title',
    posts.map(({title}) => title),
  )
  for (const [index, {seq}] of logged.entries())
    if (seq !== index) outOfOrder.push(`the log: ${seq} as number ${index}`)

  const titles = new Set(posts.map(({title}) => title))
  const tableTitles = new Set(tables.posts.map(({title}) => title))
  repeated(
    'the table of posts',
    tables.posts.map(({title}) => title),
  )
  for (const message of logged)
    if (!same(tables.messages[message.seq], message)) lost.push(`the table of messages: ${message.seq}`)
  if (tables.messages.length > logged.length) doubled.push('the table of messages holds more than the log')

  for (const {name, sent, posted, received, posts: seen} of clients) {
    for (const message of sent)
      if (!same(bySeq.get(message.seq), message)) lost.push(`acknowledged to ${name}: ${message.seq}`)
    for (const {title} of posted) {
      if (!titles.has(title)) lost.push(`acknowledged to ${name}: ${title}`)
      if (!tableTitles.has(title)) lost.push(`the table of posts: ${title}`)
    }
    ascending(
      `sent by ${name}`,
      sent.map(({seq}) => seq),
    )
    if (received.length === 0 && seen.length === 0) continue
    repeated(
      `received by ${name}`,
      received.map(({id}) => id),
    )
    repeated(
      `posts received by ${name}`,
      seen.map(({id}) => id),
    )
    const got = new Map(received.map((message) => [message.seq, message]))
    ascending(
      `received by ${name}`,
      received.map(({seq}) => seq),
    )
    for (const message of logged)
      if (!same(got.get(message.seq), message)) lost.push(`not received by ${name}: ${message.seq}`)
  }
  const acknowledged = clients.reduce((sum, {sent, posted}) => sum + sent.length + posted.length, 0)
  return {acknowledged, lost, doubled, outOfOrder}
}

/** Reads the log as the server's own code does, beside the server. The posts of a load bear the name of its room. */
const readLog = async (env: NodeJS.ProcessEnv, roomId: string): Promise<Omit<Held, 'tables'>> => {
  const config = readConfig(env)
  const url = config.databaseUrl ?? (await findEmbeddedPostgres({dataDir: config.dataDir}))!.url
  const foundation = await openFoundation(config, {url, secrets: await loadSecrets(config), onTrouble: () => {}})
  try {
    const held: Omit<Held, 'tables'> = {messages: [], posts: []}
    for await (const records of foundation.log.readAll()) {
      for (const event of await foundation.codec.decode(records)) {
        if (isFaulty(event)) throw new Error(event.fault)
        if (event.type === 'MessageSent' && event.data.roomId === roomId)
          held.messages.push({message: messageOf(event.data), nonce: event.data.nonce})
        if (event.type === 'PostCreated' && event.data.title.startsWith(roomId))
          held.posts.push({id: event.data.postId, title: event.data.title})
      }
    }
    return held
  } finally {
    await foundation.close()
  }
}

const readTables = async (reader: Pick<Person, 'get'>, roomId: string): Promise<Held['tables']> => {
  const messages: Message[] = []
  const answered = (path: string) =>
    eventually(
      async () => {
        const reply = await reader.get(path)
        if (reply.status !== 503 && reply.status !== 200) throw new Error(reply.text)
        return reply.status === 200 ? reply : null
      },
      {ms: 30_000, what: path},
    )
  for (;;) {
    const {body} = await answered(`/api/rooms/${roomId}/messages?limit=200&since=${messages.length - 1}`)
    messages.push(...body.messages)
    if (body.messages.length < 200) break
  }
  const posts: Post[] = []
  for (let next: string | undefined = '/api/posts'; next; ) {
    const {body, headers} = await answered(next)
    posts.push(...body.filter(({title}: Post) => title.startsWith(roomId)))
    next = /<([^>]+)>; rel="next"/.exec(headers.get('link') ?? '')?.[1]
  }
  return {messages, posts}
}

export type Row = {
  fault: string
  times: number
  acknowledged: number
  lost: number
  doubled: number
  outOfOrder: number
  longestOutageMs: number
}
declare module 'vitest' {
  interface TaskMeta {
    fault?: Row
  }
}

/** Holds that nothing was lost, doubled or put out of order, and that each read table equals a fresh fold of the log. */
export const check = async (
  {task}: Pick<TestContext, 'task'>,
  {fault, times}: {fault: string; times: number},
  {
    server,
    reader,
    roomId,
    clients,
    refusals,
    longestOutageMs,
  }: {
    /** One that runs. */
    server: {url: string; env: NodeJS.ProcessEnv}
    reader: Person
    roomId: string
    clients: readonly Told[]
    refusals: readonly object[]
    longestOutageMs: number
  },
): Promise<void> => {
  const log = await readLog(server.env, roomId)
  const tables = await readTables(visit(server.url, reader.cookies), roomId)
  const {acknowledged, lost, doubled, outOfOrder} = judge(clients, {...log, tables})
  task.meta.fault = {
    fault,
    times,
    acknowledged,
    lost: lost.length,
    doubled: doubled.length,
    outOfOrder: outOfOrder.length,
    longestOutageMs: Math.round(longestOutageMs),
  }
  process.stdout.write(`${Object.values(task.meta.fault).join(' | ')}\n`)
  expect({
    refusals: refusals.slice(0, 5),
    lost: lost.slice(0, 5),
    doubled: doubled.slice(0, 5),
    outOfOrder: outOfOrder.slice(0, 5),
  }).toEqual({refusals: [], lost: [], doubled: [], outOfOrder: []})
  // Whoever is told again what was stored is told of what is there: nothing is in the log that nobody was told of.
  expect(log.messages.length + log.posts.length).toBe(acknowledged)
  const verified = await community(server.env, 'projections', 'verify')
  expect(verified, verified.stdout + verified.stderr).toMatchObject({status: 0})
}
