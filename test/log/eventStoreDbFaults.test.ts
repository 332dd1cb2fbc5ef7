import {execFile} from 'node:child_process'
import {randomUUID} from 'node:crypto'
import {once} from 'node:events'
import {type AddressInfo, createServer} from 'node:net'
import {promisify} from 'node:util'
import messages, {type AppendResp, type ReadResp} from '@eventstore/db-client/generated/streams_pb.js'
import {status} from '@grpc/grpc-js'
import {afterEach, beforeEach, describe, expect, it} from 'vitest'
import {type EventLog, HistoryChanged, type LogRecord, LogUnavailable} from '../../src/log/eventLog.ts'
import {openEventStoreDbLog} from '../../src/log/eventStoreDbLog.ts'
import {answerWith, type EventStoreServer, failure, startEventStoreServer} from '../support/eventStoreServer.ts'

const TIMEOUT_MS = 400

describe('openEventStoreDbLog', () => {
  let server: EventStoreServer
  let log: EventLog
  let troubles: string[]
  let running: AbortController
  let unhandled: unknown[]
  const note = (reason: unknown) => unhandled.push(reason)

  const open = (url: string) =>
    openEventStoreDbLog({
      url,
      prefix: 'ours.',
      timeoutMs: TIMEOUT_MS,
      onTrouble: (_, error) => troubles.push(String(error)),
    })

  beforeEach(async () => {
    troubles = []
    unhandled = []
    process.on('unhandledRejection', note)
    process.on('uncaughtException', note)
    running = new AbortController()
    server = await startEventStoreServer()
    log = await open(server.url)
  })

  afterEach(async () => {
    running.abort()
    await log.close()
    server.die()
    process.off('unhandledRejection', note)
    process.off('uncaughtException', note)
    expect(unhandled).toEqual([])
  })

  const collect = (after: bigint | null = null) => {
    const records: LogRecord[] = []
    const ended = (async () => {
      for await (const page of log.subscribe({after, signal: running.signal})) records.push(...page)
    })()
    return {records, ended}
  }

  /** That the call ends by LogUnavailable, and in its time. */
  const expectUnavailable = async (call: Promise<unknown>): Promise<void> => {
    const begun = performance.now()
    await expect(call).rejects.toThrow(LogUnavailable)
    expect(performance.now() - begun).toBeLessThan(TIMEOUT_MS * 3)
  }

  describe('with a server that does not answer', () => {
    it('gives up an append in time, and gets a verdict once the server is well', async () => {
      server.answerAppend = () => new Promise(() => {})
      const events = [event()]
      await expectUnavailable(log.append('a', events, 'none'))
      await Promise.all(Array.from({length: 20}, (_, n) => expectUnavailable(log.append(`b-${n}`, [event()], 'none'))))
      server.answerAppend = (store) => store()
      expect(await log.append('a', events, 'none')).toMatchObject({ok: true, revision: 0})
    })

    it('gives up every kind of read in time', async () => {
      server.add('ours.a', {})
      server.answerRead = () => new Promise(() => {})
      const reads = [all(log.readStream('a')), all(log.readAll()), log.readAt(100n), log.head()]
      await Promise.all(reads.map(expectUnavailable))
      server.answerRead = () => true
      expect(await all(log.readStream('a'))).toHaveLength(1)
    })

    it('waits for a reading that takes long, as it does among many events of others, while the leader answers', async () => {
      server.add('ours.a', ...numbers(10))
      let scans = 0
      server.answerRead = async ({kind, filter}) => {
        if (kind === 'all' && filter) {
          scans++
          await new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS * 3))
        }
        return true
      }
      expect(await log.head()).toBe(1_000n)
      const records: LogRecord[] = []
      for await (const page of log.readAll({limit: 10})) records.push(...page)
      expect([records.length, scans]).toEqual([10, 2])
    })

    it('settles over a port that takes connections and says nothing, and over one that nobody serves', async () => {
      const silent = createServer(() => {}).listen(0, '127.0.0.1')
      await once(silent, 'listening')
      const {port} = silent.address() as AddressInfo
      for (const url of [`esdb://127.0.0.1:${port}?tls=false`, 'esdb://127.0.0.1:1?tls=false']) {
        const other = await open(url)
        await Promise.all([other.append('a', [event()], 'none'), all(other.readStream('a'))].map(expectUnavailable))
        const signal = AbortSignal.timeout(TIMEOUT_MS)
        expect(await all(other.subscribe({after: null, signal}))).toEqual([])
        await other.close()
      }
      silent.close()
    })

    it('settles where none of several hosts is there, and when it is closed meanwhile', {timeout: 60_000}, async () => {
      const other = await open('esdb://127.0.0.1:1,127.0.0.1:2?tls=false')
      await expectUnavailable(other.append('a', [event()], 'none'))
      const pending = expectUnavailable(other.append('a', [event()], 'none'))
      await other.close()
      await pending
      await expectUnavailable(other.append('a', [event()], 'none'))
    })

    it('does not wait for ever for a subscription to be confirmed', async () => {
      server.add('ours.a', {n: 0})
      server.answerRead = () => new Promise(() => {})
      const {records} = collect()
      await until(() => troubles.length > 0)
      server.answerRead = () => true
      await until(() => records.length === 1)
    })
  })

  describe('with a server that dies', () => {
    it('keeps one copy of an append that was stored and not answered', async () => {
      server.answerAppend = (store) => {
        store()
        server.die()
        return new Promise(() => {})
      }
      const events = [event(), event()]
      await expectUnavailable(log.append('a', events, 'none'))
      expect(server.events).toHaveLength(2)
      server.answerAppend = (store) => store()
      await server.revive()
      const verdict = await untilVerdict(() => log.append('a', events, 'none'))
      expect(verdict).toEqual({ok: true, revision: 1, position: server.events[1]!.position})
      expect(await all(log.readStream('a'))).toHaveLength(2)
    })

    it('repeats an append by itself while it has time', async () => {
      let stores = 0
      server.answerAppend = (store) => {
        const answer = store()
        if (stores++ > 0) return answer
        server.die()
        void server.revive()
        return new Promise(() => {})
      }
      expect(await untilVerdict(() => log.append('a', [event()], 'none'))).toMatchObject({ok: true, revision: 0})
      expect(server.events).toHaveLength(1)
    })

    it('goes on with a subscription where it was, over many deaths', async () => {
      const {records} = collect()
      for (let round = 0; round < 5; round++) {
        server.add('ours.a', ...numbers(20))
        server.add('theirs', ...numbers(3))
        await until(() => records.length >= round * 20 + 1)
        server.die()
        server.add('ours.a', ...numbers(20))
        await server.revive()
        await until(() => records.length === (round + 1) * 40)
        expect(records.map(({revision}) => revision)).toEqual(numbers((round + 1) * 40).map(({n}) => n))
        if (round === 0) expect(troubles.length).toBeGreaterThan(0)
      }
    }, 60_000)
  })

  describe('with answers that are no verdict', () => {
    const errors = [
      failure(status.UNKNOWN, 'Exception was thrown by handler.'),
      failure(status.UNKNOWN, 'No leader info available in response'),
      failure(status.INTERNAL, 'Received RST_STREAM'),
      failure(status.UNAVAILABLE, 'Server Is Not Ready'),
      failure(status.ABORTED, 'Operation timed out: commit timeout'),
      failure(status.CANCELLED, 'cancelled'),
      failure(status.DEADLINE_EXCEEDED, 'too late'),
      failure(status.RESOURCE_EXHAUSTED, 'too much'),
      failure(status.PERMISSION_DENIED, 'Access Denied', {exception: 'access-denied'}),
      failure(status.UNAUTHENTICATED, 'who?'),
      failure(status.INVALID_ARGUMENT, 'what?'),
      failure(status.FAILED_PRECONDITION, 'deleted', {exception: 'stream-deleted'}),
      failure(status.FAILED_PRECONDITION, 'wrong', {exception: 'wrong-expected-version', 'expected-version': 'x'}),
      failure(status.NOT_FOUND, 'Leader info available', {exception: 'not-leader'}),
      failure(status.NOT_FOUND, 'Leader info available', {
        exception: 'not-leader',
        'leader-endpoint-host': '127.0.0.1',
        'leader-endpoint-port': 'many',
      }),
      failure(status.NOT_FOUND, 'gone', {exception: 'no-such-exception'}),
    ]

    it.each(errors.map((error) => [`${status[error.code]} ${error.details}`, error] as const))(
      'takes the error %s neither for a refusal nor for the end',
      async (_, error) => {
        server.answerAppend = () => {
          throw error
        }
        server.answerRead = () => {
          throw error
        }
        const events = [event()]
        const calls = [log.append('a', events, 'none'), all(log.readStream('a')), log.readAt(100n)]
        await Promise.all(calls.map(expectUnavailable))
        const {records} = collect()
        await until(() => troubles.length > 0)
        server.answerAppend = (store) => store()
        server.answerRead = () => true
        expect(await untilVerdict(() => log.append('a', events, 'none'))).toMatchObject({ok: true})
        await until(() => records.length === 1)
      },
    )

    it('repeats an append that one passing error met', async () => {
      server.answerAppend = (store) => {
        if (server.appends === 1) throw errors[0]
        return store()
      }
      expect(await log.append('a', [event()], 'none')).toMatchObject({ok: true})
      expect(server.appends).toBe(2)
    })

    it('believes no empty answer, and none without a position', async () => {
      const success = new messages.AppendResp.Success()
      const position = new messages.AppendResp.Position().setCommitPosition('100')
      const empty: AppendResp[] = [
        new messages.AppendResp(),
        new messages.AppendResp().setSuccess(success),
        new messages.AppendResp().setSuccess(success.clone().setCurrentRevision('0')),
        new messages.AppendResp().setSuccess(success.clone().setPosition(position)),
      ]
      server.answerAppend = () => empty[server.appends % empty.length]!
      await Promise.all(empty.map((_, n) => expectUnavailable(log.append(`a-${n}`, [event()], 'none'))))
    })

    it('takes the server’s own limit, where it is lower, for a refusal', async () => {
      server.answerAppend = () => {
        const added = {exception: 'maximum-append-size-exceeded', 'maximum-append-size': '10'}
        throw failure(status.INVALID_ARGUMENT, 'Maximum Append Size of 10 Exceeded.', added)
      }
      expect(await log.append('a', [event()], 'none')).toEqual({ok: false, reason: 'tooLarge'})
      expect(server.appends).toBe(1)
    })

    it('refuses to read records that it cannot understand, and goes on when they are mended', async () => {
      server.add('ours.a', {n: 0})
      const [good] = server.events
      const broken: ReadResp[] = [
        new messages.ReadResp().setEvent(
          new messages.ReadResp.ReadEvent().setEvent(new messages.ReadResp.ReadEvent.RecordedEvent()),
        ),
        answerWith({...good!, data: Buffer.from('{"n":')}),
      ]
      for (const answer of broken) {
        server.answerRead = (_, call) => {
          call.write(answer)
          call.end()
          return false
        }
        await expect(all(log.readAll())).rejects.toThrow()
        await expect(all(log.readStream('a'))).rejects.toThrow()
      }
      const {records} = collect()
      await until(() => troubles.length > 0)
      server.answerRead = () => true
      await until(() => records.length === 1)
    })

    it('does not take a stream that is cut short for the whole stream', async () => {
      server.add('ours.a', ...numbers(10))
      server.answerRead = (_, call) => {
        for (const event of server.events.slice(0, 3)) call.write(answerWith(event))
        call.end()
        return false
      }
      await Promise.all([all(log.readStream('a')), all(log.readStream('new'))].map(expectUnavailable))
    })

    it('reads on after a page of $all that is cut short', async () => {
      server.add('ours.a', ...numbers(50))
      server.answerRead = ({from}, call) => {
        const rest = server.events.filter(({position}) => typeof from !== 'bigint' || position >= from)
        for (const event of rest.slice(0, 3)) call.write(answerWith(event))
        call.end()
        return false
      }
      expect(await all(log.readAll())).toHaveLength(50)
    })
  })

  describe('readAll', () => {
    it('goes on where the server was lost in the middle, and neither skips nor repeats', async () => {
      server.add('ours.a', ...numbers(3_000).map(({n}) => ({n, text: 'x'.repeat(1_000)})))
      const seen: LogRecord[] = []
      for await (const page of log.readAll()) {
        if (seen.length === 0) {
          server.die()
          await server.revive()
        }
        seen.push(...page)
      }
      expect(seen.map(({revision}) => revision)).toEqual(numbers(3_000).map(({n}) => n))
    })

    it('ends by LogUnavailable, not as if it had read all, where the server does not come back or the log is closed', async () => {
      server.add('ours.a', ...numbers(3_000).map(({n}) => ({n, text: 'x'.repeat(1_000)})))
      const other = await open(server.url)
      const [ofOther, ofLog] = [other.readAll()[Symbol.asyncIterator](), log.readAll()[Symbol.asyncIterator]()]
      for (const reading of [ofOther, ofLog]) expect((await reading.next()).done).toBe(false)
      await other.close()
      await expectUnavailable(rest(ofOther))
      server.die()
      await expectUnavailable(rest(ofLog))
    })

    it('passes over nothing that it can not understand, however much had arrived behind it', async () => {
      server.add('ours.a', ...numbers(300))
      let broken = 0
      let sent = 0
      server.answerRead = ({kind, from}, call) => {
        if (kind === 'stream') return true
        sent = 0
        for (const event of server.events) {
          if (typeof from === 'bigint' && event.position < from + (kind === 'all' ? 0n : 1n)) continue
          call.write(answerWith(event.revision === broken ? {...event, id: ''} : event))
          sent++
        }
        if (kind === 'all') call.end()
        return false
      }
      // A page is 128 events; a few that came with them wait until the consumer asks for more.
      for (broken of [130, 133, 140, 150]) {
        const seen: LogRecord[] = []
        const reading = async () => {
          for await (const page of log.readAll()) {
            seen.push(...page)
            await untilStill(() => sent)
          }
        }
        await expect(reading()).rejects.toThrow(LogUnavailable)
        expect(seen.map(({revision}) => revision)).toEqual(numbers(broken).map(({n}) => n))
      }
      const {records} = collect()
      await until(() => troubles.length > 1)
      expect(records).toHaveLength(broken)
      broken = -1
      await until(() => records.length === 300)
      expect(records.map(({revision}) => revision)).toEqual(numbers(300).map(({n}) => n))
    })

    it('goes to another node with the client where the one that was asked never answers', async () => {
      server.add('ours.a', ...numbers(10))
      const leader = await startEventStoreServer(server.events)
      let asked = 0
      server.answerRead = ({filter}) => {
        if (filter) asked++
        return filter ? new Promise(() => {}) : true
      }
      server.answerAppend = leadTo(leader)
      const answers = Promise.all([all(log.readAll()), log.head()])
      await until(() => asked === 2)
      expect(await log.append('b', [event()], 'none')).toMatchObject({ok: true})
      const [records, head] = await answers
      expect([records.length, head]).toEqual([11, server.events.at(-1)!.position])
      leader.die()
    })

    it('waits for no more than is wanted, also after an event of others', async () => {
      server.add('theirs.a', {})
      server.add('ours.a', ...numbers(3))
      server.answerRead = ({filter}, call) => {
        if (filter) call.write(answerWith(server.events[1]!))
        return !filter
      }
      const wanted = await all(log.readAll({after: server.events[0]!.position, limit: 1}))
      expect(wanted.map(({revision}) => revision)).toEqual([0])
    })

    it('does not take an empty answer for the end, where it must give the last event again', async () => {
      server.add('ours.a', ...numbers(50))
      let asked = 0
      server.answerRead = (_, call) => {
        asked++
        if (asked > 3) return true
        if (asked === 1) for (const event of server.events.slice(0, 3)) call.write(answerWith(event))
        call.end()
        return false
      }
      expect(await all(log.readAll())).toHaveLength(50)
    })

    it('takes no more from the server than it hands over while its consumer is busy, and hangs up when it stops', async () => {
      server.add('ours.a', ...Array.from({length: 8_000}, () => ({text: 'x'.repeat(2_000)})))
      let sent = 0
      let isCancelled = false
      server.answerRead = async ({kind}, call) => {
        if (kind !== 'all') return true
        call.on('cancelled', () => {
          isCancelled = true
        })
        for (const event of server.events) {
          sent++
          if (!call.write(answerWith(event))) await new Promise((resolve) => call.once('drain', resolve))
        }
        call.end()
        return false
      }
      const reading = log.readAll()[Symbol.asyncIterator]()
      expect((await reading.next()).value.length).toBeGreaterThan(0)
      await untilStill(() => sent)
      expect(sent).toBeLessThan(3_000)
      await reading.return?.(undefined)
      await until(() => isCancelled)
    })
  })

  describe('with several nodes', () => {
    it('goes to the leader that a follower names, and from one that is gone to another node', async () => {
      const leader = await startEventStoreServer(server.events)
      const notLeader = leadTo(leader)
      const {records} = collect()
      server.add('ours.a', {n: 0})
      await until(() => records.length === 1)
      server.answerAppend = notLeader
      server.answerRead = notLeader
      expect(await log.append('a', [event()], 0)).toMatchObject({ok: true, revision: 1})
      expect([server.appends, leader.appends]).toEqual([1, 1])
      expect(await all(log.readStream('a'))).toHaveLength(2)
      // The subscription that the deposed node left open says nothing; the one to the leader takes over.
      const begun = performance.now()
      await until(() => records.length === 2)
      expect(performance.now() - begun).toBeLessThan(TIMEOUT_MS * 10)
      expect(leader.subscriptions.size).toBe(1)
      // And back to the node that it knows, once the leader is gone.
      server.answerAppend = (store) => store()
      server.answerRead = () => true
      leader.die()
      expect(await untilVerdict(() => log.append('a', [event()], 1))).toMatchObject({ok: true, revision: 2})
      await until(() => records.length === 3)
    })
  })

  describe('subscribe', () => {
    it('goes on after the server closed the stream as if all were well', async () => {
      const {records} = collect()
      for (let round = 0; round < 4; round++) {
        server.add('ours.a', ...numbers(10))
        await until(() => records.length === (round + 1) * 20 - 10)
        for (const call of server.subscriptions.keys()) call.end()
        server.subscriptions.clear()
        server.add('ours.a', ...numbers(10))
        await until(() => records.length === (round + 1) * 20)
      }
      expect(records.map(({revision}) => revision)).toEqual(numbers(80).map(({n}) => n))
      expect(troubles.length).toBeGreaterThanOrEqual(4)
    })

    it('goes on after it was dropped for being slow, and reads back what it missed', async () => {
      const seen: LogRecord[] = []
      let slow = true
      const ended = (async () => {
        for await (const page of log.subscribe({after: null, signal: running.signal})) {
          seen.push(...page)
          await until(() => !slow)
        }
      })()
      server.add('ours.a', {n: 0})
      await until(() => seen.length === 1)
      const text = 'x'.repeat(20_000)
      for (let n = 0; n < 1_000; n += 20) {
        server.add('ours.a', ...Array.from({length: 20}, () => ({text})))
        await new Promise(setImmediate)
      }
      await until(() => server.subscriptions.size === 0)
      slow = false
      await until(() => seen.length === 1_001)
      expect(seen.map(({revision}) => revision)).toEqual(numbers(1_001).map(({n}) => n))
      expect(troubles.join()).toContain('too slow')
      running.abort()
      await ended
    })

    it('holds no more than it can hand over while its consumer is busy', async () => {
      server.add('ours.a', ...Array.from({length: 8_000}, () => ({text: 'x'.repeat(2_000)})))
      let busy = true
      let seen = 0
      const ended = (async () => {
        for await (const page of log.subscribe({after: null, signal: running.signal})) {
          seen += page.length
          await until(() => !busy)
        }
      })()
      await until(() => seen > 0)
      const [subscription] = server.subscriptions.values()
      await untilStill(() => subscription!.events)
      // A page, and 1 MiB that the server sends ahead: with gRPC's own 64 KiB it is some 200.
      expect(subscription!.events).toBeGreaterThan(300)
      expect(subscription!.events).toBeLessThan(3_000)
      busy = false
      await until(() => seen === 8_000)
      running.abort()
      await ended
    })

    it('yields no event twice and none out of order, whatever the server sends', async () => {
      server.add('ours.a', ...numbers(10))
      let confused = 0
      server.answerRead = ({kind}, call) => {
        if (kind !== 'subscription' || confused++ > 2) return true
        const order = [0, 1, 2, 1, 3].map((n) => server.events[n]!)
        for (const event of confused === 1 ? order : order.reverse()) call.write(answerWith(event))
        return false
      }
      const {records} = collect()
      await until(() => records.length >= 10)
      expect(records.map(({revision}) => revision)).toEqual(numbers(10).map(({n}) => n))
    })

    it('ends by HistoryChanged where another event is at its position after a reconnect', async () => {
      server.add('ours.a', ...numbers(5))
      const {records, ended} = collect()
      await until(() => records.length === 5)
      const outcome = expect(ended).rejects.toThrow(HistoryChanged)
      server.die()
      server.events = server.events.map((event) => ({...event, id: randomUUID()}))
      await server.revive()
      await outcome
      expect(records).toHaveLength(5)
    })

    it('ends by HistoryChanged where the log is shorter than it was', async () => {
      server.add('ours.a', ...numbers(5))
      const {records, ended} = collect()
      await until(() => records.length === 5)
      const outcome = expect(ended).rejects.toThrow(HistoryChanged)
      server.die()
      server.events = server.events.slice(0, 3)
      await server.revive()
      await outcome
    })

    it('does not take a server in trouble for another history', async () => {
      server.add('ours.a', ...numbers(5))
      const {records} = collect()
      await until(() => records.length === 5)
      let troubled = true
      server.answerRead = () => {
        if (troubled) throw failure(status.UNKNOWN, 'No leader info available in response')
        return true
      }
      server.die()
      await server.revive()
      await until(() => troubles.length > 3)
      troubled = false
      server.add('ours.a', {n: 5})
      await until(() => records.length === 6)
    })

    it('leaves no subscription behind on the server when it ends', async () => {
      server.add('ours.a', ...numbers(5))
      for await (const _ of log.subscribe({after: null, signal: running.signal})) break
      const {records, ended} = collect()
      await until(() => records.length === 5)
      running.abort()
      await ended
      await until(() => server.subscriptions.size === 0)
    })
  })

  it('loads the client only when a log is opened', async () => {
    const script = `
      import {createRequire} from 'node:module'
      const {cache} = createRequire(import.meta.url)
      const loaded = () => Object.keys(cache).some((file) => file.includes('@eventstore'))
      const {openEventStoreDbLog} = await import('./src/log/eventStoreDbLog.ts')
      const before = loaded()
      await openEventStoreDbLog({url: 'esdb://127.0.0.1:1?tls=false', prefix: ''})
      console.log(before, loaded())`
    const {stdout} = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout.trim()).toBe('false true')
  })
})

const event = () => ({id: randomUUID(), type: 'Happened', data: {}, metadata: {}})

const numbers = (count: number) => Array.from({length: count}, (_, n) => ({n}))

const untilVerdict = async <T>(append: () => Promise<T>): Promise<T> => {
  const deadline = Date.now() + 10_000
  for (;;) {
    try {
      return await append()
    } catch (error) {
      if (!(error instanceof LogUnavailable) || Date.now() > deadline) throw error
    }
  }
}

const all = async <T>(items: AsyncIterable<T | T[]>): Promise<T[]> => {
  const list: T[] = []
  for await (const item of items) list.push(...(Array.isArray(item) ? item : [item]))
  return list
}

/** What a follower answers. */
const leadTo =
  ({port}: EventStoreServer) =>
  (): never => {
    throw failure(status.NOT_FOUND, 'Leader info available', {
      exception: 'not-leader',
      'leader-endpoint-host': '127.0.0.1',
      'leader-endpoint-port': String(port),
    })
  }

const rest = async (reading: AsyncIterator<unknown>): Promise<void> => {
  while (!(await reading.next()).done);
}

/** Until what it counts has been the same for a while. */
const untilStill = async (count: () => number): Promise<void> => {
  let before = -1
  await until(async () => {
    const same = before === count()
    before = count()
    await new Promise((resolve) => setTimeout(resolve, 200))
    return same && before === count()
  })
}

const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  await expect.poll(condition, {timeout: 15_000, interval: 10}).toBe(true)
}
