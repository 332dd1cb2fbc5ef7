import {randomUUID} from 'node:crypto'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import type {EventLog, LogRecord} from '../../src/log/eventLog.ts'
import {openEventStoreDbLog} from '../../src/log/eventStoreDbLog.ts'
import {startTcpProxy, type TcpProxy} from '../support/tcpProxy.ts'
import {describeEventLog} from './eventLog.ts'

const url = process.env.EVENTSTORE_URL

if (!url) {
  const why = 'is skipped: set EVENTSTORE_URL (esdb://127.0.0.1:2113?tls=false) to a real server that may be written to'
  // A reporter that folds files would not show the name of a skipped test.
  process.stdout.write(`The contract over EventStoreDB ${why}.\n`)
  describe('eventStoreDbLog', () => {
    it.skip(why, () => {})
  })
} else {
  let proxy: TcpProxy | null = null
  let reached = url

  beforeAll(async () => {
    // Only one plain node can be put behind a proxy; over another URL no connection is cut.
    const single = /^esdb:\/\/([^@]*@)?(localhost|127\.0\.0\.1):(\d+)\/?\?(.*&)?tls=false/.exec(url)
    if (!single) return
    proxy = await startTcpProxy(Number(single[3]))
    reached = url.replace(/(localhost|127\.0\.0\.1):\d+/, `127.0.0.1:${proxy.port}`)
  })
  afterAll(() => proxy?.close())

  const open = async () => {
    const prefix = `contract-${randomUUID()}.`
    const log = await openEventStoreDbLog({url: reached, prefix})
    const neighbour = await openEventStoreDbLog({url, prefix: ''})
    return {
      log,
      again: () => openEventStoreDbLog({url: reached, prefix}),
      cut: () => proxy?.cut(),
      foreign: async (count: number) => {
        for (const stream of [`other-${randomUUID()}`, prefix.slice(0, -1), `x${prefix}a`, prefix.toUpperCase()]) {
          const [newest] = await collect(neighbour.readStream(stream, {backwards: true, limit: 1}))
          const events = Array.from({length: Math.ceil(count / 4)}, () => event())
          await neighbour.append(stream, events, newest?.revision ?? 'none')
        }
      },
      close: async () => {
        await log.close()
        await neighbour.close()
      },
    }
  }

  describeEventLog('eventStoreDbLog', open)

  describe('eventStoreDbLog over a real server', () => {
    it('finds no event between two positions, nor at one of another program', async () => {
      const {log, foreign, close} = await open()
      const first = await log.append('a', [event()], 'none')
      await foreign(4)
      const second = await log.append('a', [event()], 0)
      if (!first.ok || !second.ok) throw new Error('refused')
      const server = await openEventStoreDbLog({url, prefix: ''})
      for await (const page of server.readAll({after: first.position})) {
        for (const {position, stream} of page) {
          if (position < second.position) expect([await log.readAt(position), stream]).toEqual([null, stream])
        }
      }
      for (const aside of [1n, -1n, 7n]) expect(await log.readAt(second.position + aside)).toBeNull()
      expect(await log.readAt(second.position)).toMatchObject({stream: 'a', revision: 1})
      await server.close()
      await close()
    })

    it.skipIf(!url.includes('tls=false'))(
      'answers an append within its time while the connection is stalled, and goes on afterwards',
      {timeout: 60_000},
      async () => {
        if (!proxy) return
        const prefix = `stall-${randomUUID()}.`
        const log = await openEventStoreDbLog({url: reached, prefix, timeoutMs: 1_000})
        const seen: LogRecord[] = []
        const running = new AbortController()
        const follow = (async () => {
          for await (const page of log.subscribe({after: null, signal: running.signal})) seen.push(...page)
        })()
        const first = event()
        await append(log, [first], 'none')
        await until(() => seen.length === 1)
        proxy.stall()
        const second = event()
        const begun = performance.now()
        await expect(log.append('a', [second], 0)).rejects.toThrow('did not take the append')
        expect(performance.now() - begun).toBeLessThan(2_000)
        await expect(log.head()).rejects.toThrow('did not tell its head')
        proxy.resume()
        await append(log, [second], 0)
        const third = event()
        await append(log, [third], 1)
        await until(() => seen.length === 3)
        expect(seen.map(({id}) => id)).toEqual([first.id, second.id, third.id])
        proxy.shut()
        await expect(log.append('a', [event()], 2)).rejects.toThrow('did not take the append')
        proxy.resume()
        const last = event()
        await until(async () => (await log.head().catch(() => null)) !== null)
        const verdict = await log.append('a', [last], 2)
        expect(verdict.ok).toBe(true)
        await until(() => seen.length === 4)
        running.abort()
        await follow
        await log.close()
      },
    )
  })
}

const event = () => ({id: randomUUID(), type: 'Happened', data: {}, metadata: {}})

const append = async (log: EventLog, events: ReturnType<typeof event>[], expected: 'none' | number) => {
  for (;;) {
    const verdict = await log.append('a', events, expected).catch(() => null)
    if (!verdict) continue
    expect(verdict.ok).toBe(true)
    return
  }
}

const collect = async (records: AsyncIterable<LogRecord>): Promise<LogRecord[]> => {
  const list: LogRecord[] = []
  for await (const record of records) list.push(record)
  return list
}

const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  await expect.poll(condition, {timeout: 30_000, interval: 20}).toBe(true)
}
