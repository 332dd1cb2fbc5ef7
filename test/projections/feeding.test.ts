import {randomUUID} from 'node:crypto'
import fc from 'fast-check'
import {Client} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import type {DomainEvent} from '../../src/domain/catalogue.ts'
import {newRoomId} from '../../src/keys/ids.ts'
import type {TailEvent} from '../../src/log/tail.ts'
import {type Feeding, feed} from '../../src/projections/feeding.ts'
import {beginAnew, type Generation, readGenerations, targetOf} from '../../src/projections/generations.ts'
import {messages} from '../../src/projections/messages.ts'
import {posts} from '../../src/projections/posts.ts'
import {roomInvitations} from '../../src/projections/roomInvitations.ts'
import {roomMembers} from '../../src/projections/roomMembers.ts'
import {rooms} from '../../src/projections/rooms.ts'
import {declined, invited, joined, left, postCreated, roomCreated, sent} from '../support/events.ts'
import {openPlace, type Place} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')
const nobody = {version: 1, actor: null, command: 'test', correlationId: 'request', causationId: null}
const tables = [posts, rooms, roomMembers, roomInvitations, messages]

describe('feed', () => {
  let place: Place
  let client: Client
  let failures: [string, string][]

  beforeAll(async () => {
    place = await openPlace()
    client = new Client({connectionString: place.databaseUrl})
    await client.connect()
    await client.query('SET synchronous_commit = off')
    for (const table of tables)
      await beginAnew(place.pool, table, {logIdentity: place.logIdentity, adapter: 'postgres'})
    await client.query(
      `INSERT INTO read.leases (view, holder, term, expires_at) SELECT v, $1, 5, 'infinity' FROM unnest($2::text[]) v`,
      [randomUUID(), tables.map(({view}) => view)],
    )
  })
  afterAll(async () => {
    await client.end()
    await place.close()
  })

  /** The tables as new ones: empty, and fed up to nothing. */
  const begin = async (): Promise<Generation[]> => {
    failures = []
    const generations = await readGenerations(place.pool, tables)
    await client.query(`TRUNCATE ${generations.map(targetOf).join(', ')}`)
    await client.query('UPDATE read.generations SET position = NULL, event_id = NULL, fault = NULL')
    await client.query('UPDATE read.leases SET term = 5')
    return readGenerations(place.pool, tables)
  }
  const feeding = (term: string | null = '5'): Feeding => ({
    client,
    termOf: () => term,
    advanced: () => {},
    failed: async (generation, why) => {
      generation.fault = why
      failures.push([generation.table.name, why])
    },
  })
  const events = async (...given: DomainEvent[]): Promise<TailEvent[]> => {
    const from = await place.log.head()
    await place.given(...given)
    const read: TailEvent[] = []
    for await (const page of place.log.readAll({after: from})) read.push(...(await place.codec.decode(page)))
    return read
  }
  const rowsIn = async (generation: Generation): Promise<object[]> => {
    const keys = generation.table.key.join(', ')
    return (await client.query(`SELECT * FROM ${targetOf(generation)} ORDER BY ${keys}`)).rows
  }
  const stored = async () => {
    const all = []
    for (const generation of await readGenerations(place.pool, tables)) {
      const {table, position, eventId} = generation
      all.push({table: table.name, position, eventId, rows: await rowsIn(generation)})
    }
    return all
  }
  const fenced = {code: 'FE001'}

  it('writes rows and checkpoints together, also of tables that the events do not concern', async () => {
    const generations = await begin()
    const roomId = newRoomId()
    const [created, member] = await events(roomCreated(roomId, ann), joined(roomId, ann))
    await feed(feeding(), generations, [created!, member!])
    for (const {table, position, eventId, rows} of await stored()) {
      expect([table, position, eventId]).toEqual([table, member!.position, member!.id])
      expect([table, rows.length]).toEqual([table, ['rooms', 'room_members'].includes(table) ? 1 : 0])
    }
  })

  it('writes nothing for a runner whose lease has gone to another', async () => {
    const generations = await begin()
    const roomId = newRoomId()
    const page = await events(roomCreated(roomId, ann), joined(roomId, ann))
    const before = await stored()
    for (const term of ['4', '6']) {
      await expect(
        feed(
          feeding(term),
          generations.map((one) => ({...one})),
          page,
        ),
      ).rejects.toMatchObject(fenced)
    }
    await client.query('UPDATE read.leases SET term = 6 WHERE view = $1', [rooms.view])
    await expect(feed(feeding(), generations, page)).rejects.toMatchObject(fenced)
    expect(await stored()).toEqual(before)
  })

  it('writes nothing where a checkpoint is not where this runner left it', async () => {
    const generations = await begin()
    const roomId = newRoomId()
    const [created, member, gone] = await events(roomCreated(roomId, ann), joined(roomId, ann), left(roomId, ann))
    const stale = generations.map((one) => ({...one}))
    await feed(feeding(), generations, [created!, member!])
    const before = await stored()
    await expect(feed(feeding(), stale, [created!, member!, gone!])).rejects.toMatchObject(fenced)
    expect(await stored()).toEqual(before)
    await feed(feeding(), generations, [gone!])
    expect((await stored()).find(({table}) => table === 'room_members')!.rows).toEqual([])
  })

  it('passes over what a generation holds already', async () => {
    const generations = await begin()
    const roomId = newRoomId()
    const page = await events(roomCreated(roomId, ann), joined(roomId, ann))
    await feed(feeding(), generations, page)
    const before = await stored()
    await feed(feeding(), generations, page)
    expect(await stored()).toEqual(before)
    const next = await events(joined(roomId, person('Bob')))
    await feed(feeding(), generations, [page[1]!, ...next])
    const row = (await stored()).find(({table}) => table === 'rooms')!.rows[0]
    expect(row).toMatchObject({member_count: 2})
  })

  it('stops at an event that can not be read only the tables that need its type, with its address', async () => {
    const generations = await begin()
    const roomId = newRoomId()
    const before = await events(roomCreated(roomId, ann), joined(roomId, ann))
    const id = randomUUID()
    const position = before[1]!.position + 1n
    const bad: TailEvent = {
      type: 'UserLeft',
      fault: 'its data is not valid',
      id,
      stream: `room-${roomId}`,
      revision: 2,
      position,
    }
    await feed(feeding(), generations, [...before, bad])
    const address = `event ${id} at position ${position} (revision 2 of room-${roomId}): its data is not valid`
    expect(failures).toEqual([
      ['room_members', address],
      ['rooms', address],
    ])
    for (const {table, position: at, rows} of await stored()) {
      const stops = table === 'rooms' || table === 'room_members'
      expect([table, at]).toEqual([table, stops ? before[1]!.position : position])
      if (stops) expect(rows).toHaveLength(1)
    }
  })

  it('stops a table at an event that its rows do not take, after all that came before', async () => {
    const generations = await begin()
    const roomId = newRoomId()
    const page = await events(
      roomCreated(roomId, ann),
      sent(roomId, 0, ann, {nonce: 'n'}),
      sent(roomId, 1, ann, {nonce: 'n'}),
      sent(roomId, 2, ann),
    )
    await feed(feeding(), generations, page)
    expect(failures).toHaveLength(1)
    expect(failures[0]![0]).toBe('messages')
    expect(failures[0]![1]).toContain(`event ${page[2]!.id} at position ${page[2]!.position}`)
    const after = await stored()
    expect(after.find(({table}) => table === 'messages')).toMatchObject({position: page[1]!.position, rows: [{seq: 0}]})
    expect(after.find(({table}) => table === 'rooms')).toMatchObject({
      position: page[3]!.position,
      rows: [{last_seq: 2}],
    })
  })

  it('gives the same rows for events in pages of any size', async () => {
    const people = ['Ann', 'Bob', 'Eve'].map(person)
    const roomIds = [newRoomId(), newRoomId()]
    const who = fc.constantFrom(...people)
    const where = fc.constantFrom(...roomIds)
    const anyEvent = fc.oneof(
      fc.tuple(where, who).map(([roomId, by]) => joined(roomId, by, by.identity)),
      fc.tuple(where, who).map(([roomId, by]) => left(roomId, by)),
      fc.tuple(where, who, who).map(([roomId, by, whom]) => invited(roomId, whom.identity!, by)),
      fc.tuple(where, who).map(([roomId, by]) => declined(roomId, by)),
      fc.tuple(where, who, fc.nat({max: 5})).map(([roomId, by, seq]) => sent(roomId, seq, by)),
      fc
        .tuple(fc.constantFrom('u-1', 'u-2'), who, fc.string({unit: 'binary', maxLength: 5}))
        .map(([id, by, title]) =>
          postCreated(id as never, by, {title: title.replaceAll('\0', ''), body: '', attachments: []}),
        ),
    )
    const history = fc.array(fc.tuple(anyEvent, fc.boolean()), {minLength: 1, maxLength: 16})
    await fc.assert(
      fc.asyncProperty(history, async (given) => {
        const page = [...roomIds.map((roomId) => roomCreated(roomId, ann)), ...given.map(([event]) => event)].map(
          (event, index) => ({
            ...event,
            id: randomUUID(),
            stream: 'any',
            revision: index,
            position: BigInt(index + 1),
            metadata: {time: '2025-01-01T00:00:00.000Z', ...nobody},
          }),
        ) as TailEvent[]
        const cuts = [false, false, ...given.map(([, cut]) => cut)]
        const byPage = async (cut: (index: number) => boolean) => {
          const generations = await begin()
          let run: TailEvent[] = []
          for (const [index, event] of page.entries()) {
            run.push(event)
            if (!cut(index)) continue
            await feed(feeding(), generations, run)
            run = []
          }
          await feed(feeding(), generations, run.length > 0 ? run : page.slice(-1))
          return stored()
        }
        const whole = await byPage(() => false)
        expect(await byPage((index) => cuts[index]!)).toEqual(whole)
        expect(await byPage(() => true)).toEqual(whole)
      }),
      {numRuns: 8},
    )
  })
})
