import {randomUUID} from 'node:crypto'
import {setTimeout as pause} from 'node:timers/promises'
import {afterEach, beforeEach, describe, expect, it} from 'vitest'
import {
  type AppendResult,
  type EventLog,
  type ExpectedRevision,
  HistoryChanged,
  type JsonObject,
  type LogRecord,
  LogUnavailable,
  MAX_EVENT_BYTES,
  type NewRecord,
} from '../../src/log/eventLog.ts'

export type OpenLog = {
  /** Fresh and empty; no other test sees it. */
  log: EventLog
  /** The same log as another process would open it. The suite closes it. */
  again(): Promise<EventLog>
  /** Breaks every connection of `log` and of each `again`; they may connect anew at once. */
  cut(): void | Promise<void>
  /** Events of another program where it could disturb `log`, or nothing where a log has no neighbours. */
  foreign(count: number): Promise<void>
  /** Closes `log` and removes what the test left behind. */
  close(): Promise<void>
}

/** The contract of the port, over any adapter. `open` is called once a test. */
export const describeEventLog = (name: string, open: () => Promise<OpenLog>): void => {
  describe(name, () => {
    let opened: OpenLog
    let log: EventLog
    let others: EventLog[]
    let running: AbortController

    const another = async () => {
      const other = await opened.again()
      others.push(other)
      return other
    }

    /** All events of a subscription, as they come, until the test ends. */
    const collect = (from: EventLog, after: bigint | null = null): LogRecord[] => {
      const records: LogRecord[] = []
      const run = async () => {
        for await (const page of from.subscribe({after, signal: running.signal})) records.push(...page)
      }
      followed.push(run())
      return records
    }
    let followed: Promise<void>[]

    beforeEach(async () => {
      opened = await open()
      log = opened.log
      others = []
      followed = []
      running = new AbortController()
    })

    afterEach(async () => {
      running.abort()
      await Promise.all(followed)
      for (const other of others) await other.close()
      await opened.close()
    })

    describe('append', () => {
      it('numbers the events of a stream from 0 and answers with the last one', async () => {
        const first = await stored(log, 'a', [event(), event()], 'none')
        const second = await stored(log, 'a', [event()], 1)
        expect([first.revision, second.revision]).toEqual([1, 2])
        expect(second.position).toBeGreaterThan(first.position)
        const records = await all(log.readStream('a'))
        expect(records.map(({revision}) => revision)).toEqual([0, 1, 2])
        expect(records.map(({position}) => position).slice(1)).toEqual([first.position, second.position])
      })

      it('gives back what was stored, to the letter', async () => {
        const data = {
          text: 'Grüße, 漢字, 👩‍👩‍👧, "quotes" \\ back\u2028slash\t\n',
          numbers: [0, -1, 1.5, 1e-7, Number.MAX_SAFE_INTEGER],
          nested: {empty: {}, none: null, list: [[], [{}]], yes: true},
          '': 'no name',
        }
        const metadata = {at: '2025-01-01T00:00:00.000Z', é: 'composed', 'e\u0301': 'decomposed'}
        const given = {id: randomUUID(), type: 'Something happened/ü v1', data, metadata}
        await stored(log, 'a', [given], 'none')
        const [record] = await all(log.readStream('a'))
        expect(record).toEqual({...given, stream: 'a', revision: 0, position: expect.anything()})
        expect(typeof record!.position).toBe('bigint')
      })

      it('refuses what does not follow the expected revision, and writes nothing', async () => {
        await stored(log, 'a', [event(), event()], 'none')
        for (const [stream, expected] of [
          ['a', 'none'],
          ['a', 0],
          ['a', 2],
          ['b', 0],
        ] as [string, ExpectedRevision][]) {
          expect(await log.append(stream, [event()], expected)).toEqual({ok: false, reason: 'conflict'})
        }
        expect(await count(log)).toBe(2)
      })

      it('refuses an append of no events', async () => {
        await expect(log.append('a', [], 'none')).rejects.toThrow(RangeError)
      })

      it('lets one of many appends at the same revision win', async () => {
        const results = await Promise.all(times(8, () => log.append('a', [event(), event()], 'none')))
        expect(results.filter(({ok}) => ok)).toHaveLength(1)
        expect(await count(log)).toBe(2)
      })

      it('answers a repeated append as the first time, also after later events', async () => {
        const opening = [event(), event()]
        const next = [event(), event(), event()]
        const first = await stored(log, 'a', opening, 'none')
        expect(await log.append('a', opening, 'none')).toEqual(first)
        const second = await stored(log, 'a', next, 1)
        expect(await log.append('a', next, 1)).toEqual(second)
        for (let revision = 4; revision < 44; revision++) await stored(log, 'a', [event()], revision)
        await stored(log, 'b', [event()], 'none')
        expect(await log.append('a', opening, 'none')).toEqual(first)
        expect(await log.append('a', next, 1)).toEqual(second)
        expect(await (await another()).append('a', next, 1)).toEqual(second)
        expect(await count(log)).toBe(46)
      })

      it('answers a repeated beginning of an append with its own last event', async () => {
        const [a, b, c] = [event(), event(), event()]
        await stored(log, 'a', [a, b, c], 'none')
        const records = await all(log.readStream('a'))
        expect(await log.append('a', [a, b], 'none')).toEqual({ok: true, revision: 1, position: records[1]!.position})
        expect(await count(log)).toBe(3)
      })

      it('refuses an append that is repeated only in part, in another order, elsewhere or with other ids', async () => {
        const [a, b] = [event(), event()]
        await stored(log, 'a', [a, b], 'none')
        await stored(log, 'a', [event()], 1)
        const refused: [NewRecord[], ExpectedRevision][] = [
          [[a, event()], 'none'],
          [[event(), b], 'none'],
          [[b], 'none'],
          [[b, a], 'none'],
          [[a, b, event()], 'none'],
          [[a, b], 0],
          [[a, b], 1],
          [[event(), event()], 'none'],
        ]
        for (const [events, expected] of refused) {
          expect(await log.append('a', events, expected)).toEqual({ok: false, reason: 'conflict'})
        }
        expect(await count(log)).toBe(3)
      })

      it('takes the same ids in another stream as other events', async () => {
        const events = [event(), event()]
        const first = await stored(log, 'a', events, 'none')
        const second = await stored(log, 'b', events, 'none')
        expect(second.position).toBeGreaterThan(first.position)
        expect(await count(log)).toBe(4)
      })

      it('keeps one copy of an append whose outcome was unknown and that was repeated', async () => {
        const other = await another()
        let expected: ExpectedRevision = 'none'
        for (let round = 0; round < 4; round++) {
          const events = [event(), event()]
          const given: ExpectedRevision = expected
          const verdicts: AppendResult[] = await Promise.all(
            [log, other, log].map((one) => untilVerdict(one, 'a', events, given)),
          )
          expect(verdicts[1]).toEqual(verdicts[0])
          expect(verdicts[2]).toEqual(verdicts[0])
          expected = kept(verdicts[0]!).revision
        }
        expect(await count(log)).toBe(8)
      })

      it('keeps one copy of each append while its connections are cut', async () => {
        let expected: ExpectedRevision = 'none'
        const ids: string[] = []
        for (let round = 0; round < 60; round++) {
          const events = [event(), event()]
          ids.push(...events.map(({id}) => id))
          const verdict: Promise<AppendResult> = untilVerdict(log, 'a', events, expected)
          // Before, while and after the append reaches the server.
          await pause(round % 6)
          if (round % 2 === 0) await opened.cut()
          expected = kept(await verdict).revision
        }
        // A read may meet a connection that was cut; another process has none of those.
        const records = await all((await another()).readStream('a'))
        expect(records.map(({id}) => id)).toEqual(ids)
      })

      it('takes an append of 1 MiB of data and metadata, and refuses one byte more', async () => {
        const exact = eventOf(MAX_EVENT_BYTES)
        const more = eventOf(MAX_EVENT_BYTES + 1)
        expect(bytesOf(exact)).toBe(MAX_EVENT_BYTES)
        await stored(log, 'a', [exact], 'none')
        expect(await log.append('b', [more], 'none')).toEqual({ok: false, reason: 'tooLarge'})
        const [record] = await all(log.readStream('a'))
        expect(record!.data).toEqual(exact.data)
        expect(await count(log)).toBe(1)
      })

      it('counts bytes, not characters, of data and of metadata', async () => {
        const half = MAX_EVENT_BYTES / 2
        const wide = {...event(), data: {text: 'é'.repeat(half)}}
        const widely = {...event(), metadata: {text: '漢'.repeat(half)}}
        const both = {...event(), data: {text: 'x'.repeat(half)}, metadata: {text: 'x'.repeat(half)}}
        for (const one of [wide, widely, both]) {
          expect(await log.append('a', [one], 'none')).toEqual({ok: false, reason: 'tooLarge'})
        }
        expect(await count(log)).toBe(0)
      })

      it('bounds an append as a whole: all of its events or none', async () => {
        const third = Math.floor(MAX_EVENT_BYTES / 3)
        await stored(
          log,
          'a',
          times(3, () => eventOf(third)),
          'none',
        )
        const tooMuch = [event(), eventOf(third), eventOf(third), eventOf(third)]
        expect(await log.append('b', tooMuch, 'none')).toEqual({ok: false, reason: 'tooLarge'})
        expect(await all(log.readStream('b'))).toEqual([])
        expect(await count(log)).toBe(3)
      })

      it('keeps the events of an append side by side, whoever else appends', async () => {
        const batches = times(8, (writer) => ({stream: `writer-${writer}`, sizes: times(10, (n) => 1 + (n % 5))}))
        await Promise.all(
          batches.map(async ({stream, sizes}) => {
            let expected: ExpectedRevision = 'none'
            for (const size of sizes) {
              const batch = randomUUID()
              const events = times(size, () => ({...event(), data: {batch}}))
              expected = (await stored(log, stream, events, expected)).revision
            }
          }),
        )
        const order = (await pages(log.readAll())).map(({data}) => data.batch)
        const changes = order.filter((batch, index) => batch !== order[index - 1])
        expect(changes).toHaveLength(new Set(order).size)
      })

      it('tells streams apart by every character of their names', async () => {
        for (const [index, stream] of unusualNames.entries()) {
          await stored(log, stream, [event({index}), event({index})], 'none')
        }
        for (const [index, stream] of unusualNames.entries()) {
          const records = await all(log.readStream(stream))
          expect(records.map((record) => [record.stream, record.revision, record.data.index])).toEqual([
            [stream, 0, index],
            [stream, 1, index],
          ])
        }
        const streams = (await pages(log.readAll())).map(({stream}) => stream)
        expect(streams).toEqual(unusualNames.flatMap((stream) => [stream, stream]))
      })
    })

    describe('readStream', () => {
      const fill = async (size: number) => {
        for (let revision = -1; revision < size - 1; revision += 100) {
          const events = times(Math.min(100, size - 1 - revision), (n) => event({n: revision + 1 + n}))
          await stored(log, 'long', events, revision === -1 ? 'none' : revision)
          await stored(log, `beside-${revision}`, [event()], 'none')
        }
      }
      const numbers = (records: LogRecord[]) => records.map(({data}) => data.n)

      it('yields nothing of a stream that does not exist', async () => {
        expect(await all(log.readStream('a'))).toEqual([])
        expect(await all(log.readStream('a', {backwards: true}))).toEqual([])
        expect(await all(log.readStream('a', {from: 7}))).toEqual([])
        expect(await all(log.readStream('a', {from: 7, backwards: true}))).toEqual([])
      })

      it('yields a long stream whole, both ways', async () => {
        await fill(1_250)
        expect(numbers(await all(log.readStream('long')))).toEqual(times(1_250, (n) => n))
        expect(numbers(await all(log.readStream('long', {backwards: true})))).toEqual(times(1_250, (n) => 1_249 - n))
      })

      it('begins in the middle, inclusively, both ways, and stops at a limit', async () => {
        await fill(700)
        const read = async (options: Parameters<EventLog['readStream']>[1]) =>
          numbers(await all(log.readStream('long', options)))
        expect(await read({from: 100})).toEqual(times(600, (n) => 100 + n))
        expect(await read({from: 100, limit: 3})).toEqual([100, 101, 102])
        expect(await read({from: 600, backwards: true})).toEqual(times(601, (n) => 600 - n))
        expect(await read({from: 100, backwards: true, limit: 3})).toEqual([100, 99, 98])
        expect(await read({from: 'end', backwards: true, limit: 2})).toEqual([699, 698])
        expect(await read({from: 0, backwards: true})).toEqual([0])
        expect(await read({from: 699})).toEqual([699])
        expect(await read({from: 700})).toEqual([])
        expect(await read({limit: 600})).toEqual(times(600, (n) => n))
      })

      it('yields large events without losing one', async () => {
        for (let n = 0; n < 12; n++) {
          await stored(log, 'large', [{...eventOf(800_000), metadata: {n}}], n === 0 ? 'none' : n - 1)
        }
        const records = await all(log.readStream('large'))
        expect(records.map(({metadata}) => metadata.n)).toEqual(times(12, (n) => n))
        expect((await pages(log.readAll())).map(({metadata}) => metadata.n)).toEqual(times(12, (n) => n))
      })
    })

    describe('readAll, readAt and head', () => {
      it('know an empty log', async () => {
        await opened.foreign(20)
        expect(await pages(log.readAll())).toEqual([])
        expect(await log.head()).toBeNull()
        expect(await log.readAt(1_000_000_000_000n)).toBeNull()
      })

      it('yield everything in commit order, from the beginning and after any position', async () => {
        for (let n = 0; n < 6; n++)
          await stored(
            log,
            `s-${n}`,
            times(200, (k) => event({k: n * 200 + k})),
            'none',
          )
        const records = await pages(log.readAll())
        expect(records.map(({data}) => data.k)).toEqual(times(1_200, (k) => k))
        expectAscending(records)
        for (const index of [0, 1, 199, 200, 511, 512, 1_198, 1_199]) {
          const rest = await pages(log.readAll({after: records[index]!.position}))
          expect(rest).toEqual(records.slice(index + 1))
        }
        expect(await pages(log.readAll({limit: 3}))).toEqual(records.slice(0, 3))
        expect(await pages(log.readAll({after: records[2]!.position, limit: 1_000}))).toEqual(records.slice(3, 1_003))
      })

      it('find the event at a position, and none where there is none', async () => {
        await stored(
          log,
          'a',
          times(5, () => event()),
          'none',
        )
        const records = await pages(log.readAll())
        for (const record of records) expect(await log.readAt(record.position)).toEqual(record)
        const last = records.at(-1)!.position
        for (const beyond of [1n, 1_000n, 1_000_000_000n]) expect(await log.readAt(last + beyond)).toBeNull()
      })

      it('tell the newest position, also to another process', async () => {
        const other = await another()
        for (let revision = -1; revision < 4; revision++) {
          const {position} = await stored(log, 'a', [event()], revision === -1 ? 'none' : revision)
          expect(await log.head()).toBe(position)
          expect(await other.head()).toBe(position)
        }
      })

      it('see nothing of other programs', async () => {
        await opened.foreign(30)
        const first = await stored(log, 'a', [event()], 'none')
        await opened.foreign(600)
        const live = collect(log)
        const second = await stored(log, 'a', [event()], 0)
        await opened.foreign(600)
        expect((await pages(log.readAll())).map(({position}) => position)).toEqual([first.position, second.position])
        expect((await pages(log.readAll({after: first.position}))).map(({position}) => position)).toEqual([
          second.position,
        ])
        expect(await log.head()).toBe(second.position)
        await until(() => live.length >= 2)
        const third = await stored(log, 'a', [event()], 1)
        await until(() => live.length >= 3)
        expect(live.map(({position}) => position)).toEqual([first.position, second.position, third.position])
      })
    })

    describe('subscribe', () => {
      it('catches up, then goes live', async () => {
        await stored(
          log,
          'a',
          times(100, (n) => event({n})),
          'none',
        )
        const records = collect(log)
        await until(() => records.length === 100)
        for (let revision = 99; revision < 119; revision++) {
          await stored(log, 'a', [event({n: revision + 1})], revision)
          await until(() => records.length === revision + 2)
        }
        expect(records.map(({data}) => data.n)).toEqual(times(120, (n) => n))
        expect(records).toEqual(await pages(log.readAll()))
      })

      it('begins after a position, exclusively', async () => {
        await stored(
          log,
          'a',
          times(10, (n) => event({n})),
          'none',
        )
        const before = await pages(log.readAll())
        const middle = collect(log, before[4]!.position)
        const end = collect(log, before[9]!.position)
        await stored(log, 'a', [event({n: 10})], 9)
        await until(() => middle.length >= 6 && end.length >= 1)
        expect(middle.map(({data}) => data.n)).toEqual([5, 6, 7, 8, 9, 10])
        expect(end.map(({data}) => data.n)).toEqual([10])
      })

      it('sees what another process appends', async () => {
        const other = await another()
        const records = collect(other)
        await stored(log, 'a', [event({n: 0})], 'none')
        await until(() => records.length === 1)
        await stored(log, 'a', [event({n: 1})], 0)
        await until(() => records.length === 2)
        expect(records.map(({data}) => data.n)).toEqual([0, 1])
      })

      it('yields what 8 writers append in commit order, without gaps or repeats', async () => {
        const other = await another()
        const early = collect(log)
        const elsewhere = collect(other)
        const acknowledged = new Map<string, bigint>()
        const write = async (writer: number) => {
          const through = writer % 2 === 0 ? log : other
          const own = `writer-${writer}`
          for (let n = 0; n < 40; n++) {
            const events = times(1 + (n % 3), () => event({writer, n}))
            const result = await stored(through, own, events, n === 0 ? 'none' : last(own))
            revisions.set(own, result.revision)
            acknowledged.set(events.at(-1)!.id, result.position)
            if (n % 4 === 0) await appendAtEnd(through, 'shared', event({writer, n}))
          }
        }
        const revisions = new Map<string, number>()
        const last = (stream: string) => revisions.get(stream)!
        const writers = Promise.all(times(8, write))
        await until(() => early.length > 50)
        const late = collect(log, early[25]!.position)
        await writers
        const records = await pages(log.readAll())
        expectAscending(records)
        expect(new Set(records.map(({id}) => id)).size).toBe(records.length)
        for (const [id, position] of acknowledged) {
          expect(records.find((record) => record.id === id)?.position).toBe(position)
        }
        for (const stream of new Set(records.map((record) => record.stream))) {
          const own = records.filter((record) => record.stream === stream)
          expect(own.map(({revision}) => revision)).toEqual(times(own.length, (n) => n))
        }
        await until(() => early.length >= records.length && elsewhere.length >= records.length)
        await until(() => late.length >= records.length - 26)
        expect(early).toEqual(records)
        expect(elsewhere).toEqual(records)
        expect(late).toEqual(records.slice(26))
      })

      it('goes on after a lost connection without skipping, repeating or reordering', async () => {
        const records = collect(log)
        let expected: ExpectedRevision = 'none'
        for (let round = 0; round < 8; round++) {
          expected = kept(
            await untilVerdict(
              log,
              'a',
              times(50, () => event()),
              expected,
            ),
          ).revision
          if (round % 2 === 0) await until(() => records.length > round * 50)
          await opened.cut()
        }
        await until(() => records.length >= 400)
        expect(records).toEqual(await pages((await another()).readAll()))
      })

      it('begins again where a consumer that failed had finished', async () => {
        await stored(
          log,
          'a',
          times(300, (n) => event({n})),
          'none',
        )
        const handled: LogRecord[] = []
        let after: bigint | null = null
        let failures = 0
        while (handled.length < 340) {
          try {
            for await (const page of log.subscribe({after, signal: running.signal})) {
              for (const record of page) {
                if (handled.length % 100 === 50 && failures <= handled.length / 100) {
                  failures++
                  throw new Error('the consumer failed')
                }
                handled.push(record)
                after = record.position
              }
              if (handled.length === 300)
                await stored(
                  log,
                  'a',
                  times(40, (n) => event({n: 300 + n})),
                  299,
                )
              if (handled.length >= 340) break
            }
          } catch (error) {
            expect(error).toHaveProperty('message', 'the consumer failed')
          }
        }
        expect(failures).toBe(3)
        expect(handled.map(({data}) => data.n)).toEqual(times(340, (n) => n))
      })

      it('waits for a slow consumer, loses nothing, and hands over bounded pages', async () => {
        const total = 3_000
        const seen: LogRecord[] = []
        const sizes: number[] = []
        let slow = true
        const run = async () => {
          for await (const page of log.subscribe({after: null, signal: running.signal})) {
            seen.push(...page)
            sizes.push(page.length)
            await until(() => !slow)
          }
        }
        followed.push(run())
        let revision = (await stored(log, 'a', [event()], 'none')).revision
        await until(() => seen.length === 1)
        while (revision < total - 1) {
          const events = times(Math.min(50, total - 1 - revision), () => event({text: 'x'.repeat(2_000)}))
          revision = (await stored(log, 'a', events, revision)).revision
        }
        expect(seen).toHaveLength(1)
        slow = false
        await until(() => seen.length >= total)
        expect(seen).toEqual(await pages(log.readAll()))
        expect(Math.max(...sizes)).toBeLessThanOrEqual(1_000)
      })

      it('ends quietly when it is aborted: at once, while idle, and between pages', async () => {
        await stored(
          log,
          'a',
          times(5, () => event()),
          'none',
        )
        const aborted = AbortSignal.abort()
        expect(await pages(log.subscribe({after: null, signal: aborted}))).toEqual([])
        const idle = new AbortController()
        const seen: LogRecord[] = []
        for await (const page of log.subscribe({after: null, signal: idle.signal})) {
          seen.push(...page)
          if (seen.length === 5) setTimeout(() => idle.abort(), 50)
        }
        expect(seen).toHaveLength(5)
        const between = new AbortController()
        let count = 0
        for await (const _ of log.subscribe({after: null, signal: between.signal})) {
          count++
          between.abort()
        }
        expect(count).toBe(1)
      })

      it('says that history is another where no event is at its position', async () => {
        const {position} = await stored(log, 'a', [event()], 'none')
        for (const beyond of [1n, 1_000_000_000n]) {
          const subscription = log.subscribe({after: position + beyond, signal: running.signal})
          await expect(pages(subscription)).rejects.toThrow(HistoryChanged)
        }
      })
    })
  })
}

const unusualNames = [
  'room-1',
  'Room-1',
  'room-1 ',
  ' room-1',
  'room-é',
  'room-e\u0301',
  '漢字-👩‍👩‍👧',
  '$all',
  '$$room-1',
  '@quoted"\'`',
  'a/b\\c?d=e&f#g',
  '%2e%00',
  'line\nbreak\ttab',
  '-- ; DROP TABLE events',
  '*',
  '_',
  'room\u00a01',
  '\u200broom-1',
  '\u0301room-1',
  'x'.repeat(500),
  'x'.repeat(501),
]

const event = (data: JsonObject = {}): NewRecord => ({id: randomUUID(), type: 'Happened', data, metadata: {by: 'test'}})

const jsonBytes = (value: JsonObject) => Buffer.byteLength(JSON.stringify(value))
const bytesOf = ({data, metadata}: NewRecord) => jsonBytes(data) + jsonBytes(metadata)

const eventOf = (bytes: number): NewRecord => {
  const empty = event({text: ''})
  return {...empty, data: {text: 'x'.repeat(bytes - bytesOf(empty))}}
}

const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({length: count}, (_, n) => make(n))

const kept = (result: AppendResult) => {
  expect(result).toMatchObject({ok: true})
  return result as AppendResult & {ok: true}
}

const stored = async (log: EventLog, stream: string, events: NewRecord[], expected: ExpectedRevision) =>
  kept(await log.append(stream, events, expected))

const untilVerdict = async (
  log: EventLog,
  stream: string,
  events: NewRecord[],
  expected: ExpectedRevision,
): Promise<AppendResult> => {
  const deadline = Date.now() + 20_000
  for (;;) {
    try {
      return await log.append(stream, events, expected)
    } catch (error) {
      if (!(error instanceof LogUnavailable) || Date.now() > deadline) throw error
    }
  }
}

const appendAtEnd = async (log: EventLog, stream: string, one: NewRecord): Promise<void> => {
  for (;;) {
    const [newest] = await all(log.readStream(stream, {backwards: true, limit: 1}))
    if ((await log.append(stream, [one], newest?.revision ?? 'none')).ok) return
  }
}

const all = async (records: AsyncIterable<LogRecord>): Promise<LogRecord[]> => {
  const list: LogRecord[] = []
  for await (const record of records) list.push(record)
  return list
}

const pages = async (records: AsyncIterable<LogRecord[]>): Promise<LogRecord[]> => {
  const list: LogRecord[] = []
  for await (const page of records) list.push(...page)
  return list
}

const count = async (log: EventLog): Promise<number> => (await pages(log.readAll())).length

const expectAscending = (records: LogRecord[]) => {
  for (let n = 1; n < records.length; n++) expect(records[n]!.position).toBeGreaterThan(records[n - 1]!.position)
}

const until = async (condition: () => boolean): Promise<void> => {
  const deadline = Date.now() + 20_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not so within 20 s: ${condition}`)
    await pause(5)
  }
}
