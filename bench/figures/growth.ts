import {setTimeout as pause} from 'node:timers/promises'
import {Client} from 'pg'
import {newRoomId} from '../../src/keys/ids.ts'
import {type Bench, type Figure, type Growth, median} from '../harness.ts'
import {load} from '../load.ts'
import {openWire, type Wire} from '../wire.ts'
import {fillWorld, people, register, roomOf, signIn, vocabulary} from '../world.ts'
import {postsDatabase} from './postPages.ts'
import {flood} from './sockets.ts'

const STARTS = 3
/** As many as one person may have. */
const SOCKETS_A_PERSON = 50
/** Of the vocabulary: what half of all posts say, and what one in some thousands says. */
const WORDS = {'that half of all say': vocabulary[1]!, 'that few say': vocabulary[2_000]!}

/** Costs by name, in the order in which they were measured. */
type Costs = {[what: string]: {unit: string; value: number}}

const withEvents = async ({place, quick}: Bench, databaseUrl: string, posts: number): Promise<Costs> => {
  const client = new Client({connectionString: databaseUrl})
  await client.connect()
  const {rows} = await client.query(
    `SELECT pg_database_size(current_database()) AS bytes, room_id AS "roomId", user_id AS "userId"
     FROM read.room_members_v1 LIMIT 1`,
  )
  await client.end()
  const {bytes, roomId, userId} = rows[0]
  const [cookie] = await signIn(databaseUrl, [{userId}])
  const costs: Costs = {'size on disk: log, read tables, all indexes': {unit: 'MB', value: Number(bytes) / 1e6}}

  const starts: number[] = []
  for (let n = 0; n < (quick ? 1 : STARTS); n++) {
    const {startMs, stop} = await place.server({databaseUrl})
    starts.push(startMs)
    await stop()
  }
  costs['start to ready'] = {unit: 'ms', value: median(starts)}

  const any = (most: number) => 50 + Math.floor(Math.random() * Math.max(1, most - 50))
  const requests: {[what: string]: () => string} = {
    'GET /api/posts?limit=20, the newest': () => '/api/posts?limit=20',
    'GET /api/posts?limit=20 at a random cursor': () => `/api/posts?limit=20&cursor=${any(posts)}`,
    'GET /api/rooms/:roomId/messages from a random place': () =>
      `/api/rooms/${roomId}/messages?before=${any(posts / 10)}`,
    ...Object.fromEntries(
      Object.entries(WORDS).map(([how, word]) => [
        `GET /api/search for a word ${how}`,
        () => `/api/search?q=${word}%20`,
      ]),
    ),
  }
  const server = await place.server({databaseUrl})
  for (const [what, path] of Object.entries(requests)) {
    // One after the other: what comes out is what one takes, in the server and in PostgreSQL.
    const setupRequest = (request: object) => ({...request, path: path(), headers: {cookie}})
    const one = () => load(server, {connections: 1, seconds: quick ? 0.2 : 1, requests: [{setupRequest}]})
    if (!quick) await one()
    const {p50, p99} = await one()
    costs[what] = {unit: 'ms, p50', value: p50}
    costs[`${what} `] = {unit: 'ms, p99', value: p99}
  }
  await server.stop()

  const copy = await place.freshDatabase(async () => {}, databaseUrl)
  const seconds = await place.command(['projections', 'rebuild', '--all'], {databaseUrl: copy})
  costs['projections rebuild --all, the whole command'] = {unit: 'events/s', value: (posts * 1.1) / seconds}
  // Last: no table knows these events.
  const options = {mode: 'log', url: copy, writers: 64, seconds: quick ? 0.5 : 2}
  const {perSecond} = await place.work<{perSecond: number}>('appends.ts', options)
  costs['append, 64 writers, one event each'] = {unit: 'events/s', value: perSecond}
  await place.endProcesses()
  return costs
}

/** One room that all are in, with so many sockets, and then more. */
const withSockets = async ({place, quick, say}: Bench, counts: number[]): Promise<Map<number, Costs>> => {
  const all = people(Math.ceil(Math.max(...counts) / SOCKETS_A_PERSON))
  const roomId = newRoomId()
  const databaseUrl = await place.freshDatabase((url) =>
    fillWorld(url, async (world) => {
      await register(world, all)
      await world.append([roomOf(roomId, all)])
    }),
  )
  const cookies = await signIn(databaseUrl, all)
  const server = await place.server({databaseUrl})
  await pause(quick ? 100 : 2_000)
  const idle = await server.residentBytes()
  const wires: Wire[] = []
  const open = async (n: number): Promise<Wire> => {
    const wire = await openWire(server.url, cookies[n % cookies.length]!)
    await wire.ask('join_room', roomId)
    return wire
  }
  const measured = new Map<number, Costs>()
  for (const count of counts) {
    while (wires.length < count) {
      const next = Array.from({length: Math.min(25, count - wires.length)}, (_, n) => open(wires.length + n))
      wires.push(...(await Promise.all(next)))
    }
    await pause(quick ? 100 : 2_000)
    const grown = (await server.residentBytes()) - idle
    const perSecond = Math.max(2, Math.min(100, 20_000 / count))
    const {cpuMicros} = await flood(server, wires, {roomId, seconds: quick ? 0.5 : 3, perSecond})
    say(`${count} sockets`)
    measured.set(count, {
      'resident memory over idle, a socket': {unit: 'kB', value: grown / 1e3 / count},
      'processor time of the server, a message': {unit: 'µs', value: cpuMicros},
      'processor time of the server, a delivery': {unit: 'µs', value: cpuMicros / count},
    })
  }
  for (const wire of wires) wire.close()
  return measured
}

const growthOf = (of: string, measured: Map<number, Costs>): Growth[] => {
  const [first] = measured.values()
  return Object.entries(first!).map(([what, {unit}]) => ({
    what: what.trim(),
    unit,
    of,
    at: Object.fromEntries([...measured].map(([count, costs]) => [count, costs[what]!.value])),
  }))
}

export const growth: Figure = {
  name: 'growth',
  measure: async (bench) => {
    const byEvents = new Map<number, Costs>()
    for (const posts of bench.quick ? [1_000] : [10_000, 100_000, 1_000_000])
      byEvents.set(posts, await withEvents(bench, await postsDatabase(bench, posts), posts))
    const bySockets = await withSockets(bench, bench.quick ? [20] : [10, 100, 1_000, 5_000])
    return [
      ...growthOf('with so many posts, and a tenth as many messages in one room', byEvents),
      ...growthOf('with so many sockets in one room', bySockets),
    ]
  },
}
