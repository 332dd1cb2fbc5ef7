import {randomUUID} from 'node:crypto'
import {afterEach, beforeEach, describe, expect, it, onTestFinished} from 'vitest'
import {newPostId, newRoomId} from '../../src/keys/ids.ts'
import {readGenerations} from '../../src/projections/generations.ts'
import {messages} from '../../src/projections/messages.ts'
import {roomInvitations} from '../../src/projections/roomInvitations.ts'
import {roomMembers} from '../../src/projections/roomMembers.ts'
import {rooms} from '../../src/projections/rooms.ts'
import {search} from '../../src/projections/search.ts'
import {tables} from '../../src/projections/tables.ts'
import {invited, joined, left, postCreated, roomCreated, sent} from '../support/events.ts'
import {eventually} from '../support/eventually.ts'
import {openPlace, type Place} from '../support/place.ts'
import {person} from '../support/specification.ts'
import {throughProxy} from '../support/tcpProxy.ts'

const ann = person('Ann')
const bob = person('Bob')

describe('openRunner', () => {
  let place: Place
  beforeEach(async () => {
    place = await openPlace()
  })
  afterEach(() => place.close())

  const membersOf = async (roomId: string) => {
    const text = `SELECT username FROM ${roomMembers.view} WHERE room_id = $1 ORDER BY position`
    return (await place.pool.query<{username: string}>(text, [roomId])).rows.map(({username}) => username)
  }
  const faults = async () =>
    (await readGenerations(place.pool, tables)).flatMap(({table, fault}) =>
      fault === null ? [] : [[table.name, fault]],
    )

  it('builds the tables from the log’s beginning, lets them be read, and follows the log', async () => {
    const roomId = newRoomId()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    const feeder = await place.startFeeder()
    await feeder.caughtUp()
    await eventually(() => feeder.applied.building(tables).length === 0)
    expect(await membersOf(roomId)).toEqual(['Ann'])
    await place.given(joined(roomId, bob))
    await feeder.caughtUp()
    expect(await membersOf(roomId)).toEqual(['Ann', 'Bob'])
    const head = await place.log.head()
    const generations = await readGenerations(place.pool, tables)
    expect(generations.map(({state, position}) => [state, position])).toEqual(tables.map(() => ['live', head]))
  })

  it('lets no table wait for one that is fed apart', async () => {
    const roomId = newRoomId()
    const feeder = await place.startFeeder()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann), sent(roomId, 0, ann))
    await feeder.caughtUp()
    await eventually(() => feeder.applied.building(tables).length === 0)
    const others = tables.filter(({apart}) => !apart)
    const reader = await place.pool.connect()
    await reader.query(`BEGIN; LOCK TABLE ${search.view}_g1 IN ACCESS EXCLUSIVE MODE`)
    await place.given(postCreated(newPostId(), ann, {title: 'x', body: '', attachments: []}))
    expect(await feeder.applied.reached(others, (await place.log.head())!, 5_000)).toBe(true)
    expect(await feeder.applied.reached([search], (await place.log.head())!, 0)).toBe(false)
    await reader.query('ROLLBACK')
    reader.release()
    await feeder.caughtUp()
  })

  it('stops at once, also while it is only about to lead, and gives back what it took', async () => {
    const feeder = await place.startFeeder()
    await feeder.runner.stop()
    expect(feeder.runner.leads()).toEqual([])
    const {rows} = await place.pool.query('SELECT FROM read.leases WHERE expires_at > clock_timestamp()')
    expect(rows).toEqual([])
  })

  it('lets one of two runners lead, and the other take over when it stops', async () => {
    const roomId = newRoomId()
    const first = await place.startFeeder()
    await eventually(() => first.runner.leads().length === tables.length)
    const second = await place.startFeeder()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    await Promise.all([first.caughtUp(), second.caughtUp()])
    expect(second.runner.leads()).toEqual([])
    const began = performance.now()
    await first.runner.stop()
    expect(first.runner.leads()).toEqual([])
    await eventually(() => second.runner.leads().length === tables.length)
    // The lease was given back, so nobody waits for it to run out.
    expect(performance.now() - began).toBeLessThan(1_900)
    await place.given(joined(roomId, bob))
    await second.caughtUp()
    expect(await membersOf(roomId)).toEqual(['Ann', 'Bob'])
  })

  it('takes over when a dead node’s lease runs out, and not before', async () => {
    const dead = randomUUID()
    const {rows} = await place.pool.query<{until: Date}>(
      `INSERT INTO read.leases (view, holder, term, expires_at)
       SELECT v, $1, 7, clock_timestamp() + interval '1.5 s' FROM unnest($2::text[]) v RETURNING expires_at AS until`,
      [dead, tables.map(({view}) => view)],
    )
    const feeder = await place.startFeeder()
    await eventually(() => feeder.runner.leads().length === tables.length)
    expect(Date.now()).toBeGreaterThanOrEqual(rows[0]!.until.getTime())
    await feeder.caughtUp()
    const leases = await place.pool.query<{term: string}>('SELECT term FROM read.leases')
    expect(leases.rows.map(({term}) => term)).toEqual(tables.map(() => '8'))
  })

  it('notices that its lease is gone, leads no more, and writes nothing over its successor', async () => {
    const roomId = newRoomId()
    const feeder = await place.startFeeder()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    await feeder.caughtUp()
    await eventually(() => feeder.applied.building(tables).length === 0)
    await place.pool.query(`UPDATE read.leases SET holder = $1, term = term + 1, expires_at = 'infinity'`, [
      randomUUID(),
    ])
    const before = await readGenerations(place.pool, tables)
    await place.given(joined(roomId, bob))
    await eventually(() => feeder.runner.leads().length === 0)
    await feeder.tail.reached((await place.log.head())!, 5_000)
    expect(await readGenerations(place.pool, tables)).toEqual(before)
    expect(await membersOf(roomId)).toEqual(['Ann'])
    await place.pool.query('UPDATE read.leases SET expires_at = clock_timestamp()')
    await feeder.caughtUp()
    expect(await membersOf(roomId)).toEqual(['Ann', 'Bob'])
  })

  it('goes on where it stopped when its database connections were cut', async () => {
    const roomId = newRoomId()
    const feeder = await place.startFeeder()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    await feeder.caughtUp()
    await place.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name LIKE 'community projection%'`,
    )
    await place.given(joined(roomId, bob))
    await feeder.caughtUp()
    expect(await membersOf(roomId)).toEqual(['Ann', 'Bob'])
  })

  it('goes on where it stopped when the database fell silent with a statement under way', async () => {
    const roomId = newRoomId()
    const {proxy, url} = await throughProxy(place.databaseUrl)
    onTestFinished(() => proxy.close())
    const feeder = await place.startFeeder({url})
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    await feeder.caughtUp()
    proxy.halfClose('server')
    await place.given(joined(roomId, bob))
    await feeder.caughtUp()
    expect(await membersOf(roomId)).toEqual(['Ann', 'Bob'])
  })

  it('stops the tables that need an event which can not be read, says where, and feeds the others', async () => {
    const roomId = newRoomId()
    const logged: string[] = []
    const feeder = await place.startFeeder({logged})
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    await feeder.caughtUp()
    const id = randomUUID()
    const metadata = {time: new Date().toISOString(), actor: null, command: '', correlationId: '', causationId: null}
    const record = await place.codec.encode({id, event: joined(roomId, bob), metadata})
    const future = {...record, metadata: {...record.metadata, version: 99}}
    await place.log.append(`room-${roomId}`, [future], 1)
    const bad = (await place.log.head())!
    await place.given(sent(roomId, 0, ann))
    const head = (await place.log.head())!
    expect(await feeder.applied.reached([messages], head, 5_000)).toBe(true)
    const fault = `event ${id} at position ${bad} (revision 2 of room-${roomId}): version 99 of UserJoined is not known`
    await eventually(async () => (await faults()).length === 3)
    expect((await faults()).sort()).toEqual([
      ['room_invitations', fault],
      ['room_members', fault],
      ['rooms', fault],
    ])
    expect(feeder.applied.states().get(messages.view)!.fault).toBeNull()
    await eventually(() => feeder.applied.states().get(rooms.view)?.fault === fault)
    expect(logged.filter((line) => line.includes(fault))).toHaveLength(3)

    // Mended, the next leader takes the tables from where they stopped.
    await place.pool.query(`UPDATE log.events SET metadata = $1 WHERE id = $2`, [JSON.stringify(record.metadata), id])
    await feeder.runner.stop()
    const next = await place.startFeeder()
    await next.caughtUp()
    expect(await faults()).toEqual([])
    expect(await membersOf(roomId)).toEqual(['Ann', 'Bob'])
  })

  it('stops at data that is not valid, written into the log by somebody else', async () => {
    const roomId = newRoomId()
    const feeder = await place.startFeeder()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann))
    await place.pool.query(`
      UPDATE log.head SET position = position + 1;
      INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
      SELECT position + 1, stream, revision + 1, gen_random_uuid(), 'UserLeft', '{"roomId":17}', metadata
      FROM log.events ORDER BY position DESC LIMIT 1`)
    await eventually(async () => (await faults()).length === 2)
    for (const [table, fault] of await faults()) {
      expect(['room_members', 'rooms']).toContain(table)
      expect(fault).toMatch(/^event [0-9a-f-]{36} at position 4 \(revision 2 of room-.*\): its data is not valid/)
    }
    await place.given(invited(roomId, bob.identity!, ann))
    expect(await feeder.applied.reached([messages], (await place.log.head())!, 5_000)).toBe(true)
  })

  it('builds tables afresh whose checkpoint is of another log or names an event that is not there', async () => {
    const roomId = newRoomId()
    const first = await place.startFeeder()
    await place.given(roomCreated(roomId, ann), joined(roomId, ann), joined(roomId, bob), left(roomId, bob))
    await first.caughtUp()
    await first.runner.stop()
    const before = await readGenerations(place.pool, tables)
    const changes = new Map([
      [rooms, 'log_identity = gen_random_uuid()'],
      [roomMembers, `adapter = 'eventstoredb'`],
      [messages, 'position = position + 1000'],
      [roomInvitations, 'event_id = gen_random_uuid()'],
    ])
    for (const [table, change] of changes) {
      await place.pool.query(`INSERT INTO ${table.view} (${table.key}) SELECT ${table.key.map(() => 1)}`)
      await place.pool.query(`UPDATE read.generations SET ${change} WHERE view = $1`, [table.view])
    }
    const logged: string[] = []
    await place.startFeeder({logged})
    const anew = () => logged.filter((line) => line.includes('another history'))
    await eventually(() => anew().length === changes.size)
    await eventually(async () => (await readGenerations(place.pool, tables)).every(({state}) => state === 'live'))
    expect(await readGenerations(place.pool, tables)).toEqual(before)
    for (const [{view, key}] of changes) {
      const {rowCount} = await place.pool.query(`SELECT FROM ${view} WHERE ${key[0]} = '1'`)
      expect([view, rowCount]).toEqual([view, 0])
    }
    expect(await membersOf(roomId)).toEqual(['Ann'])
    for (const [{name}] of changes) expect(anew().filter((line) => line.includes(`"${name}"`))).toHaveLength(1)
  })
})
