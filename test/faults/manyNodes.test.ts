import {randomBytes, randomUUID} from 'node:crypto'
import {mkdtemp, rm} from 'node:fs/promises'
import {Agent} from 'node:http'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {setTimeout as pause} from 'node:timers/promises'
import {Client} from 'pg'
import {io} from 'socket.io-client'
import {afterAll, describe, expect, it, onTestFinished} from 'vitest'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {hasNginx, startNginx} from '../support/nginx.ts'
import {range, roomOf} from '../support/rooms.ts'
import {BOT_TOKEN, connect, type Person, signUp, visit} from '../support/server.ts'
import {endAll, type ServerProcess, spawnServer} from '../support/serverProcess.ts'

const folders: string[] = []
afterAll(async () => {
  await endAll([])
  for (const folder of folders) await rm(folder, {recursive: true, force: true})
})

/** Real processes on one database and one log. The first is there before the others, so it feeds the read tables. */
const startNodes = async (count: number): Promise<ServerProcess[]> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'community-nodes-'))
  folders.push(dataDir)
  const {EVENTSTORE_URL} = process.env
  const env = {
    DATABASE_URL: await createDatabase(),
    MASTER_KEY: randomBytes(32).toString('base64'),
    SESSION_SECRET: randomBytes(32).toString('base64'),
    TRUST_PROXY: '1',
    ...(EVENTSTORE_URL ? {EVENTSTORE_URL, EVENTSTORE_PREFIX: `t${randomBytes(6).toString('hex')}.`} : {}),
  }
  const first = await spawnServer(dataDir, {env})
  return [first, ...(await Promise.all(range(1, count).map(() => spawnServer(dataDir, {env}))))]
}

type Message = {id: string; seq: number; content: string}

/**
 * A client as people have one: it comes back by itself, joins again with the newest seq it has, and sends what was not
 * acknowledged again with its nonce. `address`: its own, by which nginx picks its node.
 */
const openClient = (
  url: string,
  {cookies}: Person,
  roomId: string,
  {name, address, transports}: {name: string; address: string; transports?: string[]},
) => {
  const socket = io(url, {
    forceNew: true,
    reconnectionDelay: 100,
    reconnectionDelayMax: 500,
    timeout: 3_000,
    // The types know the browser's only.
    agent: new Agent({localAddress: address, keepAlive: true}) as unknown as string,
    extraHeaders: {cookie: [...cookies].map(([key, value]) => `${key}=${value}`).join('; ')},
    ...(transports ? {transports} : {}),
  })
  const received: Message[] = []
  const acknowledged: Message[] = []
  const refusals: object[] = []
  let isJoined = false
  let longestGap = 0
  const join = () => {
    socket.emit('join_room', roomId, {since: received.at(-1)?.seq ?? -1}, ({ok, code}: {ok: boolean; code: string}) => {
      isJoined = ok
      if (!ok && ['BUSY', 'BEHIND', 'UNAVAILABLE'].includes(code)) setTimeout(() => socket.connected && join(), 100)
      else if (!ok) refusals.push({join: code})
    })
  }
  socket.on('connect', join)
  socket.on('disconnect', () => {
    isJoined = false
  })
  socket.on('message', (message: Message) => received.push(message))
  const send = async (content: string) => {
    const nonce = randomUUID()
    for (;;) {
      const answer = await socket
        .timeout(2_000)
        .emitWithAck('send_message', {roomId, content, nonce})
        .catch(() => null)
      if (answer?.ok) return void acknowledged.push(answer.message)
      if (answer && !['BUSY', 'UNAVAILABLE'].includes(answer.code)) return void refusals.push(answer)
      if (answer) await pause(100)
    }
  }
  return {
    name,
    received,
    acknowledged,
    refusals,
    isJoined: () => isJoined,
    longestGap: () => Math.round(longestGap),
    write: async (until: AbortSignal) => {
      for (let count = 0; !until.aborted; count++) {
        const began = performance.now()
        await send(`${name} ${count}`)
        longestGap = Math.max(longestGap, performance.now() - began)
      }
    },
    close: () => socket.disconnect(),
  }
}

const readAll = async (who: {get: Person['get']}, roomId: string): Promise<Message[]> => {
  const all: Message[] = []
  for (;;) {
    const {status, body, text} = await who.get(`/api/rooms/${roomId}/messages?limit=200&since=${all.length - 1}`)
    if (status === 503) continue
    if (status !== 200) throw new Error(text)
    all.push(...body.messages)
    if (body.messages.length < 200) return all
  }
}

describe('many nodes', () => {
  it.skipIf(!hasNginx)(
    `lose and double nothing behind nginx while one of three is killed, and then the one that feeds the read tables${hasNginx ? '' : ': nginx is not installed'}`,
    {timeout: 120_000},
    async () => {
      const nodes = await startNodes(3)
      const [leader, staying, killed] = nodes as [ServerProcess, ServerProcess, ServerProcess]
      const nginx = await startNginx(nodes)
      onTestFinished(nginx.stop)
      const database = new Client({connectionString: leader.databaseUrl})
      await database.connect()
      onTestFinished(() => database.end())
      const front = {...leader, url: nginx.url}
      const people: Person[] = []
      for (let index = 0; index < 4; index++) people.push(await signUp(front))
      const roomId = await roomOf(people[0]!, ...people.slice(1))
      const clients = range(0, 12).map((index) =>
        openClient(nginx.url, people[index % 4]!, roomId, {
          name: `client ${index}`,
          address: `127.0.0.${20 + index}`,
          ...(index % 2 === 0 ? {} : {transports: ['websocket']}),
        }),
      )
      onTestFinished(() => clients.forEach(({close}) => void close()))
      const allJoined = (what: string) =>
        eventually(() => clients.every(({isJoined}) => isJoined()), {what: `everybody to be back: ${what}`, ms: 30_000})
      await allJoined('at the start')
      const {rows: used} = await database.query('SELECT DISTINCT node FROM state.presence')
      expect(used.length).toBeGreaterThan(1)

      const over = new AbortController()
      const writing = clients.map(({write}) => write(over.signal))
      const everybodyWrote = async (more: number) => {
        const before = clients.map(({acknowledged}) => acknowledged.length)
        const wrote = () => clients.every(({acknowledged}, index) => acknowledged.length >= before[index]! + more)
        await eventually(wrote, {what: 'everybody to write', ms: 30_000})
      }
      await everybodyWrote(10)
      await killed.end('SIGKILL')
      await allJoined('after one of three died')
      await everybodyWrote(10)

      const {rows: leases} = await database.query('SELECT DISTINCT holder FROM read.leases')
      await leader.end('SIGKILL')
      const began = performance.now()
      await eventually(
        async () => {
          const {rows} = await database.query(
            'SELECT FROM read.leases WHERE holder = ANY($1) OR expires_at < clock_timestamp()',
            [leases.map(({holder}) => holder)],
          )
          return rows.length === 0
        },
        {what: 'another node to feed the read tables', ms: 30_000},
      )
      const takeover = Math.round(performance.now() - began)
      await allJoined('after the leader died')
      await everybodyWrote(10)
      over.abort()
      await Promise.all(writing)

      const acknowledged = clients.flatMap((client) => client.acknowledged)
      const newest = Math.max(...acknowledged.map(({seq}) => seq))
      await eventually(() => clients.every(({received}) => received.some(({seq}) => seq === newest)), {
        what: 'everybody to have the newest message',
      })
      const stored = await readAll(visit(staying.url, people[0]!.cookies), roomId)
      process.stdout.write(
        `many nodes: ${acknowledged.length} acknowledged, ${stored.length} stored; the read tables were fed again after ${takeover} ms; ` +
          `longest wait of a sender, each: ${clients.map(({longestGap}) => longestGap()).join(', ')} ms\n`,
      )

      expect(clients.flatMap(({refusals}) => refusals)).toEqual([])
      expect(stored.map(({seq}) => seq)).toEqual(range(0, stored.length))
      // Nothing acknowledged is lost, and nothing is there that nobody was told of: what is doubled would be.
      expect(stored.length).toBe(acknowledged.length)
      for (const message of acknowledged) expect(stored[message.seq]).toEqual(message)
      for (const {name, received, acknowledged: own} of clients) {
        expect([name, received.map(({seq}) => seq)]).toEqual([name, range(0, stored.length)])
        expect(received).toEqual(stored)
        expect(own.map(({content}) => content)).toEqual(own.map((_, index) => `${name} ${index}`))
        expect(own.map(({seq}) => seq)).toEqual(own.map(({seq}) => seq).sort((a, b) => a - b))
      }
    },
  )

  it('share a room that both of them saturate, and refuse nobody', {timeout: 60_000}, async () => {
    const [one, two] = (await startNodes(2)) as [ServerProcess, ServerProcess]
    const roomId = await roomOf(await signUp(one))
    const over = new AbortController()
    const writersAt = async (
      node: ServerProcess,
    ): Promise<{done: Promise<void>; count(): number; refusals: object[]}> => {
      const refusals: object[] = []
      let count = 0
      const sockets = await Promise.all(
        range(0, 4).map((index) =>
          connect(node, {auth: {botToken: BOT_TOKEN, botId: `writer-${index}`}, transports: ['websocket']}),
        ),
      )
      await sockets[0]!.ask('join_room', roomId)
      for (const socket of sockets) await socket.ask('send_message', {roomId, content: 'here'})
      const done = async () => {
        const write = async (socket: (typeof sockets)[number]) => {
          while (!over.signal.aborted) {
            const answer = await socket.ask('send_message', {roomId, content: 'a busy room'})
            if (answer.ok) count++
            else refusals.push(answer)
          }
        }
        await Promise.all(sockets.flatMap((socket) => range(0, 8).map(() => write(socket))))
      }
      return {done: pause(0).then(done), count: () => count, refusals}
    }
    const nodes = await Promise.all([writersAt(one), writersAt(two)])
    await pause(5_000)
    over.abort()
    await Promise.all(nodes.map(({done}) => done))
    const counts = nodes.map(({count}) => count())
    process.stdout.write(`a hot room: ${counts.join(' and ')} messages in 5 s\n`)
    expect(nodes.flatMap(({refusals}) => refusals)).toEqual([])
    expect(Math.min(...counts) / (counts[0]! + counts[1]!)).toBeGreaterThanOrEqual(0.25)
  })
})
