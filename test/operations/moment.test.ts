import {randomUUID} from 'node:crypto'
import {beforeAll, describe, expect, it} from 'vitest'
import {historyUpTo, type Moment, parseMoment, positionAt} from '../../src/operations/moment.ts'
import {WrongUsage} from '../../src/operations/operator.ts'
import {overEachLog} from '../support/place.ts'

describe('parseMoment', () => {
  it.each([
    ['2026-11-24', '2026-11-24T00:00:00.000Z'],
    ['2026-11-24T18:00', '2026-11-24T18:00:00.000Z'],
    ['2026-11-24T18:00Z', '2026-11-24T18:00:00.000Z'],
    ['2026-11-24T18:00:01.5+02:00', '2026-11-24T16:00:01.500Z'],
  ])('takes %s for %s, in UTC where it names no other', (text, time) => {
    expect(parseMoment(text)).toEqual({time: Date.parse(time)})
  })

  it('takes digits alone for a position', () => {
    expect(parseMoment('1200')).toEqual({position: 1200n})
  })

  it.each(['', 'yesterday', '2026-02-30', '2026-11-24T25:00Z', '-1', '1.5', '9'.repeat(30)])('refuses %j', (text) => {
    expect(() => parseMoment(text)).toThrow(WrongUsage)
  })
})

describe('historyUpTo', () => {
  overEachLog((here) => {
    const positions: bigint[] = []
    const minute = (minutes: number) => Date.UTC(2100, 0, 1, 0, minutes)
    // Clocks of nodes differ: the third event says that it was before the second.
    beforeAll(async () => {
      for (const [index, minutes] of [0, 20, 10, 30].entries()) {
        const metadata = {
          version: 1,
          time: new Date(minute(minutes)).toISOString(),
          actor: null,
          command: 'test',
          correlationId: 'request',
          causationId: null,
        }
        const event = {id: randomUUID(), type: 'MasterKeyRotated', data: {}, metadata}
        const result = await here.place.log.append('operations', [event], index === 0 ? 'none' : index - 1)
        if (result.ok) positions.push(result.position)
      }
    })
    const countUpTo = async (moment: Moment | null) => {
      let count = 0
      for await (const page of historyUpTo(here.place.log, moment)) count += page.length
      return count
    }

    it('ends, of a time, before the first event in log order that is later', async () => {
      expect(await countUpTo({time: minute(0) - 1})).toBe(1)
      expect(await countUpTo({time: minute(0)})).toBe(2)
      expect(await countUpTo({time: minute(15)})).toBe(2)
      expect(await countUpTo({time: minute(20)})).toBe(4)
      expect(await countUpTo({time: minute(60)})).toBe(5)
    })

    it('ends at a position, that of an event or not', async () => {
      expect(await countUpTo({position: 0n})).toBe(0)
      expect(await countUpTo({position: positions[1]!})).toBe(3)
      expect(await countUpTo({position: positions[3]! + 1_000n})).toBe(5)
      expect(await countUpTo(null)).toBe(5)
    })

    it('is found without reading past what matters', async () => {
      const [first, second, , last] = positions
      expect(await positionAt(here.place.log, {time: minute(15)}, last!)).toBe(first)
      expect(await positionAt(here.place.log, {time: minute(15)}, 0n)).toBeLessThanOrEqual(first!)
      expect(await positionAt(here.place.log, {position: second!}, last!)).toBe(second)
      expect(await positionAt(here.place.log, null, last!)).toBe(last)
    })
  })
})
