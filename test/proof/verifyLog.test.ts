import {randomBytes, randomUUID} from 'node:crypto'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {appendInOrder} from '../../src/log/appendInOrder.ts'
import type {EventLog} from '../../src/log/eventLog.ts'
import type {SealedRecord} from '../../src/proof/leaf.ts'
import type {Seal} from '../../src/proof/seal.ts'
import {sealLog} from '../../src/proof/sealLog.ts'
import {signingKeyOf} from '../../src/proof/signingKey.ts'
import {verifyLog} from '../../src/proof/verifyLog.ts'
import {openEmptyLog} from '../support/emptyLog.ts'
import {historyOf, recordsIn} from '../support/history.ts'
import {type Adapter, openPlace, type Place} from '../support/place.ts'

let place: Place
let seal: Seal
beforeAll(async () => {
  place = await openPlace()
  await appendInOrder(place.log, historyOf(599))
  seal = await sealLog({
    pool: place.pool,
    log: place.log,
    identity: place.logIdentity,
    key: signingKeyOf(randomBytes(32)),
    earlier: null,
  })
  await appendInOrder(place.log, historyOf(50, 599))
  await place.pool.query('CREATE TABLE kept_events AS TABLE log.events; CREATE TABLE kept_tiles AS TABLE proof.tiles')
})
afterAll(() => place.close())

const verify = (log: EventLog = place.log) => verifyLog({pool: place.pool, log, seal})

/** Behind the program's back, and afterwards as it was. */
const tampered = async (...statements: string[]) => {
  try {
    for (const statement of statements) await place.pool.query(statement)
    return await verify()
  } finally {
    await place.pool.query(`
      TRUNCATE log.events, proof.tiles;
      INSERT INTO log.events SELECT * FROM kept_events; INSERT INTO proof.tiles SELECT * FROM kept_tiles`)
  }
}

const removed = (position: number) => `DELETE FROM log.events WHERE position = ${position}`
const renumbered = (from: number, by: number) => [
  `UPDATE log.events SET position = position + 1000000 WHERE position >= ${from}`,
  `UPDATE log.events SET position = position - 1000000 + ${by} WHERE position >= 1000000`,
]
const inserted = (position: number) =>
  `INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
   VALUES (${position}, 'x', 0, '${randomUUID()}', 'Happened', '{}', '{}')`
const swapped = (one: number, other: number) => [
  `UPDATE log.events SET position = -1 WHERE position = ${one}`,
  `UPDATE log.events SET position = ${one} WHERE position = ${other}`,
  `UPDATE log.events SET position = ${other} WHERE position = -1`,
]

describe('a log in Postgres that was changed with SQL', () => {
  it('is as it was sealed before, and where only what came later is changed', async () => {
    expect(await verify()).toMatchObject({differs: null, size: 600, root: seal.root})
    expect(await tampered(removed(601), removed(640))).toMatchObject({differs: null})
  })

  it('is also as it was where JSON is only spelled otherwise', async () => {
    expect(
      await tampered(`UPDATE log.events SET data = data::jsonb::json, metadata = metadata::jsonb::json`),
    ).toMatchObject({differs: null})
  })

  it.each([1, 2, 256, 257, 513, 600])('names position %i, where an event was changed', async (position) => {
    for (const change of [
      `data = jsonb_set(data::jsonb, '{n}', '7000')::json`,
      `data = '{"n":1e999}'`,
      `metadata = '{}'`,
      `type = 'Other'`,
      `stream = 'other'`,
      `revision = 77777`,
      `id = gen_random_uuid()`,
    ]) {
      const {differs} = await tampered(`UPDATE log.events SET ${change} WHERE position = ${position}`)
      expect(differs?.first).toMatchObject({kind: 'changed', index: position - 1, position: BigInt(position)})
    }
  })

  it.each([1, 2, 256, 257, 600])('names position %i, where an event is missing', async (position) => {
    for (const statements of [[removed(position)], [removed(position), ...renumbered(position + 1, -1)]]) {
      const {differs} = await tampered(...statements)
      // Of the last one nothing tells whether it was removed, or became what came later.
      const kind = position === 600 ? 'changed' : 'removed'
      expect(differs?.first).toMatchObject({kind, index: position - 1, position: BigInt(position)})
    }
  })

  it('names the first of several that are missing, up to its end', async () => {
    const end = await tampered('DELETE FROM log.events WHERE position > 590')
    expect(end).toMatchObject({held: 590, differs: {first: {kind: 'removed', position: 591n, event: null}}})
    const several = await tampered('DELETE FROM log.events WHERE position BETWEEN 100 AND 300 OR position = 400')
    expect(several.differs?.first).toMatchObject({kind: 'removed', position: 100n})
    const all = await tampered('DELETE FROM log.events')
    expect(all.differs?.first).toMatchObject({kind: 'removed', position: 1n})
  })

  it.each([0, -7])('finds an event that was put before the first one, at position %i', async (position) => {
    const {differs} = await tampered(inserted(position))
    expect(differs?.first).toMatchObject({kind: 'inserted', index: 0, event: {stream: 'x'}})
  })

  it.each([1, 2, 256, 257, 600])('names position %i, where an event was put in', async (position) => {
    const {differs} = await tampered(...renumbered(position, 1), inserted(position))
    expect(differs?.first).toMatchObject({kind: 'inserted', index: position - 1, position: BigInt(position)})
  })

  it.each([
    [1, 2],
    [255, 256],
    [256, 257],
    [10, 300],
    [599, 600],
  ])('names position %i, where the order was changed', async (one, other) => {
    const {differs} = await tampered(...swapped(one, other))
    expect(differs?.first).toMatchObject({kind: 'moved', index: one - 1, position: BigInt(one)})
  })

  it('differs without saying where, when the kept hashes were changed as well, or are lost', async () => {
    for (const lost of [
      `UPDATE proof.tiles SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE level = 0 AND tile = 1`,
      'DELETE FROM proof.tiles WHERE level = 0 AND tile = 0',
      'TRUNCATE proof.tiles',
    ]) {
      expect(await tampered(lost, removed(300))).toMatchObject({differs: {first: null}})
      expect(await tampered(lost)).toMatchObject({differs: null})
    }
  })
})

const adapters: Adapter[] = process.env.EVENTSTORE_URL ? ['postgres', 'eventstoredb'] : ['postgres']
describe.each(adapters)('a copy of the log in %s', (adapter) => {
  const copied = async (change: (records: SealedRecord[]) => SealedRecord[]) => {
    const log = await openEmptyLog(adapter)
    await appendInOrder(log, renewed(change(await recordsIn(place.log))))
    return verify(log)
  }

  it('verifies by the seal of the first log', {timeout: 60_000}, async () => {
    expect(await copied((records) => records)).toMatchObject({differs: null, root: seal.root})
  })

  it.each<[string, (records: SealedRecord[]) => SealedRecord[]]>([
    ['changed', (records) => records.with(300, {...records[300]!, data: {n: -1}})],
    ['removed', (records) => records.toSpliced(300, 1)],
    ['inserted', (records) => records.toSpliced(300, 0, {...records[300]!, stream: 'new', id: randomUUID()})],
    ['moved', (records) => records.toSpliced(300, 2, records[301]!, records[300]!)],
  ])('does not where one event was %s', {timeout: 60_000}, async (kind, change) => {
    const {differs} = await copied(change)
    expect(differs?.first).toMatchObject({kind, index: 300})
    if (adapter === 'postgres') expect(differs?.first?.position).toBe(301n)
  })
})

/** With the revisions that a log would give them. */
const renewed = (records: SealedRecord[]): SealedRecord[] => {
  const next = new Map<string, number>()
  return records.map((record) => {
    const revision = next.get(record.stream) ?? 0
    next.set(record.stream, revision + 1)
    return {...record, revision}
  })
}
