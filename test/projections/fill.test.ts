import {randomUUID} from 'node:crypto'
import {Client} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {newRoomId} from '../../src/keys/ids.ts'
import type {EventLog} from '../../src/log/eventLog.ts'
import {type Feeding, feed} from '../../src/projections/feeding.ts'
import {fill} from '../../src/projections/fill.ts'
import {beginAnew, type Generation, readGenerations, targetOf} from '../../src/projections/generations.ts'
import {messages} from '../../src/projections/messages.ts'
import {roomMembers} from '../../src/projections/roomMembers.ts'
import {rooms} from '../../src/projections/rooms.ts'
import {search} from '../../src/projections/search.ts'
import {joined, left, roomCreated, sent} from '../support/events.ts'
import {openPlace, type Place} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')
const bob = person('Bob')
const tables = [rooms, roomMembers, messages, search]
/** What `COPY` or a tsvector has a meaning for. */
const odd = [
  'a\tb\\tc\\',
  'one\ntwo\r\nthree\r',
  '\\.',
  '\\N',
  "it's {a,\"b\"} 'c':1A,2 & d:* | !e",
  'ünï 東京都 🎉',
  ' ',
  'a word, and one more: x'.repeat(30),
]
const contentOf = (seq: number) => (seq < odd.length ? {content: odd[seq]!} : {})
const signal = new AbortController().signal

describe('fill', () => {
  let place: Place
  let client: Client
  const roomId = newRoomId()

  beforeAll(async () => {
    place = await openPlace()
    client = new Client({connectionString: place.databaseUrl})
    await client.connect()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    // More than are written at once, so that a page is folded while the one before is on its way.
    for (let chunk = 0; chunk < 25; chunk++)
      await place.given(
        ...Array.from({length: 100}, (_, n) => sent(roomId, chunk * 100 + n, ann, contentOf(chunk * 100 + n))),
      )
    await place.given(left(roomId, ann), joined(roomId, bob))
  })
  afterAll(async () => {
    await client.end()
    await place.close()
  })

  const begin = async (): Promise<Generation[]> => {
    for (const table of tables)
      await beginAnew(place.pool, table, {
        logIdentity: place.logIdentity,
        adapter: 'postgres',
        found: await readGenerations(place.pool, [table]),
      })
    return readGenerations(place.pool, tables)
  }
  const feeding: Omit<Feeding, 'client'> = {
    termOf: () => null,
    advanced: () => {},
    failed: async (generation, why) => {
      generation.fault = why
    },
  }
  const rowsIn = async ({table, generation}: Generation): Promise<object[]> =>
    (await place.pool.query(`SELECT * FROM ${targetOf({table, generation})} ORDER BY ${table.key.join(', ')}`)).rows
  const all = async (): Promise<object[][]> => Promise.all((await readGenerations(place.pool, tables)).map(rowsIn))
  /** The same log, and how many events were read from it. */
  const counted = () => {
    let read = 0
    const log: Pick<EventLog, 'readAll'> = {
      readAll: async function* (options) {
        for await (const page of place.log.readAll(options)) {
          read += page.length
          yield page
        }
      },
    }
    return {log: {...place.log, ...log}, read: () => read}
  }
  const fillAll = async (generations: readonly Generation[], log = place.log) =>
    fill({log, codec: place.codec}, {...feeding, client}, generations, {signal})

  it('brings all tables to the log’s end in one reading of it, to the same rows as one by one', async () => {
    const {log, read} = counted()
    await fillAll(await begin(), log)
    const head = (await place.log.head())!
    expect(read()).toBe(Number(head))
    const together = await all()
    expect(together.map((rows) => rows.length)).toEqual([2_500, 1, 1, 2_500])
    for (const one of await begin()) await fillAll([one])
    expect(await all()).toEqual(together)
    for (const {position} of await readGenerations(place.pool, tables)) expect(position).toBe(head)
  })

  it('goes on where each of them stopped, and applies nothing twice', async () => {
    await fillAll(await begin())
    const whole = await all()
    const generations = await begin()
    const stops = {...place.log, readAll: () => place.log.readAll({limit: 1_300})}
    await fillAll(generations.slice(0, 2), stops)
    await fillAll(await readGenerations(place.pool, tables))
    expect(await all()).toEqual(whole)
    // Nothing is read for tables that hold all of it but what there is to see that there is no more.
    const {log, read} = counted()
    await fillAll(await readGenerations(place.pool, tables), log)
    expect([read(), await all()]).toEqual([0, whole])
  })

  it('stops one table at an event that it can not take, and goes on with the others', async () => {
    const generations = await begin()
    const bad = {...(await place.log.readAt(1_000n))!, data: {roomId: 17}, id: randomUUID()}
    const log: EventLog = {
      ...place.log,
      readAll: async function* (options) {
        for await (const page of place.log.readAll(options))
          yield page.map((record) => (record.position === bad.position ? bad : record))
      },
    }
    await fillAll(generations, log)
    const stopped = generations.filter(({fault}) => fault !== null)
    expect(stopped.map(({table}) => table.name).sort()).toEqual(['messages', 'rooms', 'search'])
    for (const {fault, position} of stopped) {
      expect(fault).toContain(`event ${bad.id} at position 1000`)
      expect(position).toBe(999n)
    }
    expect(generations.find(({table}) => table === roomMembers)!.position).toBe(await place.log.head())
    expect((await rowsIn(generations.find(({table}) => table === messages)!)).length).toBe(999 - 3)
  })

  it('copies the same rows that a node writes which follows the log', async () => {
    // Whoever joins again is put in the place of who is there.
    await place.given(joined(roomId, bob), sent(roomId, 2_500, bob))
    await place.given({type: 'UserErased', data: {userId: bob.userId}}, sent(roomId, 2_501, bob))
    await fillAll(await begin())
    const copied = await all()
    const generations = await begin()
    for await (const page of place.log.readAll())
      await feed({...feeding, client}, generations, await place.codec.decode(page))
    expect(await all()).toEqual(copied)
    const texts = copied[0]!.slice(0, odd.length).map((row) => (row as {content: string}).content)
    expect(texts).toEqual(odd)
  })

  it('writes fewer at once where they are large', async () => {
    // The page in which they begin has short ones, too.
    const from = (await place.log.head())! + 100n
    const long = 'x'.repeat(50_000)
    for (let chunk = 0; chunk < 40; chunk++) {
      const seqs = Array.from({length: 10}, (_, n) => 10_000 + chunk * 10 + n)
      await place.given(...seqs.map((seq) => sent(roomId, seq, ann, {content: long})))
    }
    const [generation] = (await begin()).filter(({table}) => table === messages)
    const written: number[] = []
    const onProgress = (count: number, position: bigint) => {
      if (position > from) written.push(count)
    }
    await fill(place, {...feeding, client}, [generation!], {signal, onProgress})
    expect((await rowsIn(generation!)).length).toBe(2_902)
    expect(Math.max(...written)).toBeLessThan(150)
  })
})
