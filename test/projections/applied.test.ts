import {afterEach, beforeEach, describe, expect, it} from 'vitest'
import {newRoomId} from '../../src/keys/ids.ts'
import {type Applied, openApplied} from '../../src/projections/applied.ts'
import {messages} from '../../src/projections/messages.ts'
import {rooms} from '../../src/projections/rooms.ts'
import {tables} from '../../src/projections/tables.ts'
import {roomCreated, sent} from '../support/events.ts'
import {eventually} from '../support/eventually.ts'
import {type Feeder, openPlace, type Place} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')

describe('openApplied', () => {
  let place: Place
  let feeder: Feeder
  /** As another node has it: told by the database alone. */
  let applied: Applied

  beforeEach(async () => {
    place = await openPlace()
    feeder = await place.startFeeder()
    await feeder.caughtUp()
    await eventually(() => feeder.applied.building(tables).length === 0)
    applied = openApplied({url: place.databaseUrl, pool: place.pool, tables})
    await applied.start()
  })
  afterEach(async () => {
    await applied.stop()
    await place.close()
  })

  const head = async () => (await place.log.head())!
  const cut = () =>
    place.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'community read table listener'`,
    )

  it('knows from the start how far the tables are', async () => {
    expect(await applied.reached(tables, await head(), 0)).toBe(true)
    expect(applied.building(tables)).toEqual([])
    const known = {generation: 1, position: await head(), live: true, fault: null, because: null}
    expect(applied.states().get(rooms.view)).toEqual(known)
  })

  it('waits until the tables hold an event, and no longer than it is let', async () => {
    await feeder.runner.stop()
    await place.given(roomCreated(newRoomId(), ann))
    const began = performance.now()
    expect(await applied.reached([rooms], await head(), 100)).toBe(false)
    expect(performance.now() - began).toBeGreaterThanOrEqual(95)
    const waiting = applied.reached([rooms, messages], await head(), 10_000)
    await place.startFeeder()
    expect(await waiting).toBe(true)
  })

  it('waits for the slowest of the tables', async () => {
    await feeder.runner.stop()
    const behind = await head()
    applied.advanced([rooms.view], behind + 5n)
    expect(await applied.reached([rooms], behind + 5n, 0)).toBe(true)
    expect(await applied.reached([rooms, messages], behind + 5n, 0)).toBe(false)
    applied.advanced([messages.view], behind + 5n)
    expect(await applied.reached([rooms, messages], behind + 5n, 0)).toBe(true)
  })

  it('tells who gathers that somebody waits for a table, and else after the time', async () => {
    await applied.awaited([rooms], 1)
    const gathered = applied.awaited([rooms], 600_000)
    const others = applied.reached([messages], (await head()) + 1n, 100)
    expect(await Promise.race([gathered, others])).toBe(false)
    const waiting = applied.reached([messages, rooms], (await head()) + 1n, 100)
    await gathered
    await applied.awaited([rooms], 600_000)
    expect(await waiting).toBe(false)
  })

  it('is told of each commit without asking', async () => {
    const roomId = newRoomId()
    await place.given(roomCreated(roomId, ann))
    const began = performance.now()
    for (let seq = 0; seq < 20; seq++) {
      await place.given(sent(roomId, seq, ann))
      expect(await applied.reached([messages], await head(), 5_000)).toBe(true)
    }
    // A poll alone would take a second each.
    expect(performance.now() - began).toBeLessThan(10_000)
  })

  it('goes on after its connection was lost', async () => {
    for (let round = 0; round < 3; round++) {
      await cut()
      await place.given(roomCreated(newRoomId(), ann))
      expect(await applied.reached([rooms], await head(), 10_000)).toBe(true)
    }
  })

  it('reads the positions afresh: a database that went back holds less than this node remembers', async () => {
    await place.given(roomCreated(newRoomId(), ann))
    const newest = await head()
    expect(await applied.reached([rooms], newest, 5_000)).toBe(true)
    await feeder.runner.stop()
    await place.pool.query('UPDATE read.generations SET position = position - 1 WHERE view = $1', [rooms.view])
    await cut()
    await eventually(() => applied.states().get(rooms.view)?.position === newest - 1n)
    expect(await applied.reached([rooms], newest, 0)).toBe(false)
  })

  it('says which tables may not be read, because they are being built', async () => {
    await feeder.runner.stop()
    await place.pool.query(`UPDATE read.generations SET state = 'building' WHERE view = $1`, [rooms.view])
    await place.pool.query(`SELECT pg_notify('read', '{}')`)
    await eventually(() => applied.building([rooms, messages]).length > 0)
    expect(applied.building([rooms, messages])).toEqual(['rooms'])
  })

  it('tells who wants to know that generations changed', async () => {
    let changes = 0
    const forget = applied.onChange(() => void changes++)
    await place.pool.query(`SELECT pg_notify('read', '{}')`)
    await eventually(() => changes === 1)
    forget()
    await place.pool.query(`SELECT pg_notify('read', '{}')`)
    await place.given(roomCreated(newRoomId(), ann))
    expect(await applied.reached([rooms], await head(), 5_000)).toBe(true)
    expect(changes).toBe(1)
  })

  it('lets nobody wait for ever once it is stopped', async () => {
    const waiting = applied.reached([rooms], (await head()) + 1_000n, 60_000)
    await applied.stop()
    expect(await waiting).toBe(false)
  })
})
