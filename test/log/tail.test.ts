import {describe, expect, it} from 'vitest'
import type {RoomId} from '../../src/domain/room.ts'
import {newRoomId} from '../../src/keys/ids.ts'
import type {EventLog} from '../../src/log/eventLog.ts'
import {openTail, type Tail, type TailEvent} from '../../src/log/tail.ts'
import {sent} from '../support/events.ts'
import {eventually} from '../support/eventually.ts'
import {overEachLog} from '../support/place.ts'
import {person} from '../support/specification.ts'

const ann = person('Ann')

describe('openTail', () => {
  overEachLog((here) => {
    const withTail = async (
      test: (tail: Tail, ended: unknown[]) => Promise<void>,
      wrap: (log: EventLog) => EventLog = (log) => log,
    ) => {
      const ended: unknown[] = []
      const tail = openTail({log: wrap(here.place.log), codec: here.place.codec, onEnd: (error) => ended.push(error)})
      try {
        await test(tail, ended)
      } finally {
        await tail.stop()
      }
    }
    const happen = async (roomId: RoomId, from: number, count: number) => {
      await here.place.given(...Array.from({length: count}, (_, index) => sent(roomId, from + index, ann)))
      return (await here.place.log.head())!
    }
    const seqsOf = (events: TailEvent[]) =>
      events.flatMap((event) => ('data' in event && event.type === 'MessageSent' ? [event.data.seq] : []))
    const count = (to: number, from = 0) => Array.from({length: to - from}, (_, index) => from + index)
    /** Follows until `enough`, asking for the next page only after `pause`. */
    const follow = async (tail: Tail, after: bigint | null, enough: number, pause = async () => {}) => {
      const events: TailEvent[] = []
      const over = new AbortController()
      for await (const page of tail.follow({after, signal: over.signal})) {
        events.push(...page)
        await pause()
        if (events.length >= enough) over.abort()
      }
      return events
    }

    it('gives each event that comes after its start to every listener, in order, once', async () => {
      const roomId = newRoomId()
      await happen(roomId, 0, 3)
      await withTail(async (tail) => {
        const heard: TailEvent[][] = [[], []]
        for (const events of heard) tail.listen((event) => void events.push(event))
        await tail.start()
        const head = await happen(roomId, 3, 250)
        expect(await tail.reached(head, 10_000)).toBe(true)
        expect(tail.position()).toBe(head)
        for (const events of heard) expect(seqsOf(events)).toEqual(count(253, 3))
      })
    })

    it('says that a position is reached once the listeners have it, and not before', async () => {
      await withTail(async (tail) => {
        let last: bigint | null = null
        tail.listen(({position}) => {
          last = position
        })
        await tail.start()
        expect(await tail.reached((await here.place.log.head())!, 0)).toBe(true)
        expect(await tail.reached((await here.place.log.head())! + 1n, 50)).toBe(false)
        for (let index = 0; index < 20; index++) {
          const head = await happen(newRoomId(), 0, 1)
          await tail.reached(head, 10_000)
          expect(last).toBe(head)
        }
      })
    })

    it('gives a follower what was there and what comes, without a gap between', async () => {
      const roomId = newRoomId()
      const before = await here.place.log.head()
      await happen(roomId, 0, 120)
      await withTail(async (tail) => {
        await tail.start()
        const following = follow(tail, before, 400)
        await happen(roomId, 120, 280)
        expect(seqsOf(await following)).toEqual(count(400))
      })
    })

    it('gives a follower from the beginning all that the log holds', async () => {
      await withTail(async (tail) => {
        await tail.start()
        const all: string[] = []
        for await (const page of here.place.log.readAll()) all.push(...page.map(({id}) => id))
        const events = await follow(tail, null, all.length)
        expect(events.map(({id}) => id)).toEqual(all)
      })
    })

    it('gives a slow follower everything, also what is kept in memory no more', async () => {
      const roomId = newRoomId()
      const before = await here.place.log.head()
      await withTail(async (tail) => {
        await tail.start()
        let go = () => {}
        const held = new Promise<void>((resolve) => {
          go = resolve
        })
        const slow = follow(tail, before, 6_000, () => held)
        for (let from = 0; from < 6_000; from += 1_000) await happen(roomId, from, 1_000)
        await tail.reached((await here.place.log.head())!, 10_000)
        go()
        expect(seqsOf(await slow)).toEqual(count(6_000))
      })
    })

    it('reads the log for a follower that is behind, and not for one that is close', async () => {
      let reads = 0
      const counted = (log: EventLog): EventLog => ({
        ...log,
        readAll: (options) => {
          reads++
          return log.readAll(options)
        },
      })
      const roomId = newRoomId()
      const before = await here.place.log.head()
      await happen(roomId, 0, 10)
      await withTail(async (tail) => {
        await tail.start()
        const start = tail.position()
        await tail.reached(await happen(roomId, 10, 10), 10_000)
        expect(seqsOf(await follow(tail, start, 10))).toEqual(count(20, 10))
        expect(reads).toBe(0)
        expect(seqsOf(await follow(tail, before, 20))).toEqual(count(20))
        expect(reads).toBe(1)
      }, counted)
    })

    it('ends for followers and waiters when it is stopped', async () => {
      await withTail(async (tail) => {
        await tail.start()
        const head = (await here.place.log.head())!
        const following = follow(tail, head, 1)
        const waiting = tail.reached(head + 1_000_000n, 60_000)
        await tail.stop()
        expect(await following).toEqual([])
        expect(await waiting).toBe(false)
      })
    })

    it('says so when it can not go on, and goes no further', async () => {
      await withTail(async (tail, ended) => {
        const fault = new Error('a listener failed')
        tail.listen(() => {
          throw fault
        })
        await tail.start()
        const before = tail.position()
        const head = await happen(newRoomId(), 0, 1)
        await eventually(() => ended.length > 0)
        expect(ended).toEqual([fault])
        expect(tail.position()).toBe(before)
        expect(await tail.reached(head, 20)).toBe(false)
      })
    })
  })
})
