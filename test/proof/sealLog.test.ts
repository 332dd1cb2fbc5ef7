import {randomBytes} from 'node:crypto'
import {expect, it, vi} from 'vitest'
import {appendInOrder} from '../../src/log/appendInOrder.ts'
import type {EventLog} from '../../src/log/eventLog.ts'
import {leafOf} from '../../src/proof/leaf.ts'
import {rootOf} from '../../src/proof/merkleTree.ts'
import {proveEvent} from '../../src/proof/proveEvent.ts'
import {readSeal, type Seal} from '../../src/proof/seal.ts'
import {sealLog} from '../../src/proof/sealLog.ts'
import {signingKeyOf} from '../../src/proof/signingKey.ts'
import {openEmptyLog} from '../support/emptyLog.ts'
import {historyOf, recordsIn} from '../support/history.ts'
import {openPlace, overEachLog, type Place} from '../support/place.ts'

const key = signingKeyOf(randomBytes(32))

const sealIn = ({pool, log, logIdentity}: Place, earlier: Seal | null = null, over: EventLog = log) =>
  sealLog({pool, log: over, identity: logIdentity, key, earlier})

const rootIn = async (log: EventLog, size: number): Promise<string> =>
  rootOf((await recordsIn(log)).slice(0, size).map(leafOf)).toString('hex')

const close = (one: Place) => one.close()

overEachLog((here) => {
  it('is of all events up to the head, and reads only what came since the last one', async () => {
    const {place} = here
    const {log} = place
    const readFrom = vi.spyOn(log, 'readAll')
    let earlier: Seal | null = null
    let size = 1
    // Over the edges of tiles, and of tiles of tiles.
    for (const [n, more] of [0, 1, 253, 1, 1, 255, 3, 700].entries()) {
      await appendInOrder(log, historyOf(more, size - 1))
      size += more
      const before = (await recordsIn(log)).at(-1 - more)!.position
      readFrom.mockClear()
      const seal: Seal = await sealIn(place, earlier)
      if (n > 0) expect(readFrom.mock.calls).toEqual([[{after: before}]])
      expect(seal).toMatchObject({size, identity: place.logIdentity, root: await rootIn(log, size)})
      expect(seal.extends).toEqual(
        earlier ? expect.objectContaining({size: earlier.size, root: earlier.root}) : undefined,
      )
      expect(readSeal(JSON.stringify(seal), 'it')).toEqual(seal)
      earlier = seal
    }
    const {id, position} = (await recordsIn(log))[300]!
    for (const event of [{id}, {position}]) {
      const proof = await proveEvent({pool: place.pool, log, seal: earlier!, event})
      expect(proof).toMatchObject({index: 300, record: {id}})
      expect(proof!.path.length).toBeLessThan(12)
    }
  })

  it('is right while events are being appended and other seals are made', async () => {
    const {place} = here
    const before = (await recordsIn(place.log)).length
    const appending = (async () => {
      for (let n = 0; n < 300; n += 30) await appendInOrder(place.log, historyOf(30, before - 1 + n))
    })()
    const seals = await Promise.all(Array.from({length: 6}, () => sealIn(place)))
    await appending
    seals.push(await sealIn(place, seals[0]))
    for (const {size, root} of seals) expect(root).toBe(await rootIn(place.log, size))
    expect(seals.at(-1)!.size).toBe(before + 300)
  })

  it('goes on in a copy of the log, and in none that is not one', {timeout: 60_000}, async () => {
    const {place} = here
    const sealed = await sealIn(place)
    const records = await recordsIn(place.log)
    for (const adapter of process.env.EVENTSTORE_URL
      ? (['postgres', 'eventstoredb'] as const)
      : (['postgres'] as const)) {
      const copy = await openEmptyLog(adapter)
      await appendInOrder(copy, records.slice(0, -1))
      await expect(sealIn(place, null, copy)).rejects.toThrow('does not hold what was sealed')
      await appendInOrder(copy, [...records.slice(-1), ...historyOf(5, records.length - 1)])
      const extended = await sealIn(place, sealed, copy)
      expect(extended).toMatchObject({size: sealed.size + 5, root: await rootIn(copy, sealed.size + 5)})
      // As it was before the copy: the last seal is of the longer log.
      await place.pool.query('DELETE FROM proof.seals WHERE size > $1', [sealed.size])
    }
    expect((await sealIn(place)).root).toBe(sealed.root)
  })
})

it('makes kept hashes anew from the log where they are lost or changed', async () => {
  const place = await openPlace()
  await appendInOrder(place.log, historyOf(600))
  const first = await sealIn(place)
  for (const damage of [
    'DELETE FROM proof.tiles',
    'DELETE FROM proof.tiles WHERE level = 0 AND tile = 2',
    `UPDATE proof.tiles SET hashes = set_byte(hashes, 5, get_byte(hashes, 5) # 1) WHERE level = 1`,
  ]) {
    await place.pool.query(damage)
    expect((await sealIn(place, first)).root).toBe(first.root)
    const {rows} = await place.pool.query('SELECT count(*)::int AS tiles FROM proof.tiles')
    expect(rows).toEqual([{tiles: 4}])
  }
  await close(place)
})

it('does not extend a seal of another history, and seals nothing then', async () => {
  const place = await openPlace()
  await appendInOrder(place.log, historyOf(20))
  const seal = await sealIn(place)
  const other = {...seal, root: '0'.repeat(64)}
  await expect(sealIn(place, other)).rejects.toThrow('nothing extends it')
  await expect(sealIn(place, {...seal, size: 30})).rejects.toThrow('nothing extends it')
  await close(place)
})

it('says of a seal what is wrong with it', async () => {
  const place = await openPlace()
  await appendInOrder(place.log, historyOf(20))
  const first = await sealIn(place)
  await appendInOrder(place.log, historyOf(20, 20))
  const seal = await sealIn(place, first)
  const text = JSON.stringify(seal, null, 2)
  const read = (changed: string) => () => readSeal(changed, 'monday.json')
  for (let cut = 0; cut < text.length; cut += 40) expect(read(text.slice(0, cut))).toThrow('monday.json is no seal')
  for (const change of [
    {size: 22},
    {root: first.root},
    {time: new Date(0).toISOString()},
    {identity: '7f9c24e8-3b12-4fef-91e4-7bd0a1c3e9a5'},
    {publicKey: signingKeyOf(randomBytes(32)).publicKey},
    {publicKey: 'AAAA'},
    {signature: first.signature},
    {extends: undefined},
  ])
    expect(read(JSON.stringify({...seal, ...change}))).toThrow('monday.json was changed')
  expect(read(JSON.stringify({...seal, more: 1}))).toThrow('monday.json is no seal')
  await close(place)
})
