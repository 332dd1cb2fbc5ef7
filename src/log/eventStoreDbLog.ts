import {setTimeout as pause, setImmediate as turn} from 'node:timers/promises'
import {
  type AppendResult,
  type EventLog,
  HistoryChanged,
  type JsonObject,
  type LogOptions,
  type LogRecord,
  LogUnavailable,
  MAX_EVENT_BYTES,
} from './eventLog.ts'
import type {Answer, Recorded} from './eventStoreDbAnswer.ts'
import {errorName, type Flow, openCalls, type Reading} from './eventStoreDbCalls.ts'
import {wakeable} from './wakeable.ts'

/** Handed over together: of more, much is still alive when garbage is collected. */
const PAGE_EVENTS = 128
/** Of one stream asked for together: each call costs as much as many events. */
const STREAM_EVENTS = 512
const PAGE_BYTES = 4 * 1024 * 1024

type PageReading = Extract<Reading, {count: number}>
type FollowReading = Extract<Reading, {prefix: string | null}>
type Page = {events: Recorded[]; more: boolean}

/**
 * The log in EventStoreDB: the streams whose names begin with `prefix`. `url` is a connection string of
 * `@eventstore/db-client`, `esdb://[user:password@]host:port[,host:port…]?tls=false`; one that it can't read is an error.
 * Connects when it is first used. Reading $all needs a user that may (by default one of `$admins`).
 */
export const openEventStoreDbLog = async ({
  url,
  prefix,
  timeoutMs = 5_000,
  onTrouble = () => {},
}: {url: string; prefix: string} & LogOptions): Promise<EventLog> => {
  const calls = await openCalls(url)
  const closing = new AbortController()

  /** Attempts until there is an answer or `timeoutMs` are over. Every attempt may be repeated: an append bears its ids. */
  const settle = async <T>(
    what: string,
    attempt: (deadline: number) => Promise<T>,
    {signal = closing.signal, patient = false} = {},
  ): Promise<T> => {
    const until = performance.now() + timeoutMs
    for (let failures = 0; ; failures++) {
      const leftMs = until - performance.now()
      try {
        signal.throwIfAborted()
        // gRPC wants a time of day.
        const attempted = attempt(Date.now() + leftMs)
        return await (patient ? attempted : inTime(attempted, leftMs, signal))
      } catch (error) {
        await beforeAnother(what, error, {failures, until, signal})
      }
    }
  }

  /** Pauses before another attempt, or throws where there is no time for one. */
  const beforeAnother = async (
    what: string,
    error: unknown,
    {failures, until, signal}: {failures: number; until: number; signal: AbortSignal},
  ): Promise<void> => {
    const pauseMs = backoff(failures)
    if (signal.aborted || performance.now() + pauseMs >= until) {
      throw new LogUnavailable(`EventStoreDB did not ${what}`, {cause: error})
    }
    await pause(pauseMs, undefined, {signal}).catch(() => {})
  }

  /** Waits for what may take long, like passing over others' events, as long as the leader answers and `check` passes. */
  const whileLed = async <T>(work: Promise<T>, signal: AbortSignal, check = async () => {}): Promise<T> => {
    const patience = timeoutMs / 2
    for (;;) {
      const done = work.then((value) => ({value}))
      const result = await inTime(done, patience, signal).catch((error) => {
        if (error instanceof Silence) return null
        throw error
      })
      if (result) return result.value
      const newest: PageReading = {all: 'end', prefix: null, backwards: true, count: 1}
      const answered = calls.read(newest, Date.now() + patience, () => {})
      await inTime(answered, patience, signal)
      await check()
    }
  }

  const toRecord = ({id, type, stream, revision, position, data, metadata}: Recorded): LogRecord => ({
    id,
    type,
    stream: stream.slice(prefix.length),
    revision,
    position,
    data: parse(data),
    metadata: parse(metadata),
  })

  /** Up to `count` events, or fewer once they are PAGE_BYTES. `more`: it ended because of either. */
  const readPage = async (reading: PageReading, deadline: number, signal?: AbortSignal): Promise<Page> => {
    const events: Recorded[] = []
    let bytes = 0
    let whole = !('stream' in reading)
    try {
      await calls.read(
        reading,
        deadline,
        (answer, flow) => {
          whole ||= answer === 'whole'
          if (typeof answer === 'string' || bytes >= PAGE_BYTES) return
          events.push(answer)
          bytes += answer.bytes
          if (bytes >= PAGE_BYTES) flow.cancel()
        },
        signal,
      )
    } catch (error) {
      if (bytes < PAGE_BYTES) throw error
    }
    const more = bytes >= PAGE_BYTES || events.length === reading.count
    if (!whole && !more) throw new Error('the answer ended before the stream did')
    return {events, more}
  }

  /**
   * What a reading of $all brings after the position that it begins with, in pages, until it ends; a subscription ends by its
   * first trouble. `isOurs`: there is an event of ours at that position, which a reading gives again, unless it was cut short.
   */
  async function* follow(
    reading: FollowReading,
    signal: AbortSignal,
    {isOurs = false} = {},
  ): AsyncGenerator<Recorded[]> {
    const wake = wakeable()
    const stop = new AbortController()
    const after = typeof reading.all === 'bigint' ? reading.all : null
    let newest = after ?? -1n
    let waiting: Recorded[] = []
    let bytes = 0
    let flow = null as Flow | null
    let isConfirmed = 'count' in reading
    let isFound = !isOurs
    let ended = null as {by: unknown} | null
    const end = (by: unknown) => {
      ended ??= {by}
      wake.all()
    }

    const heed = (answer: Answer | 'begun', answers: Flow) => {
      flow = answers
      isConfirmed ||= answer !== 'begun'
      if (typeof answer === 'string' || !answer.stream.startsWith(prefix)) return
      if (answer.position === after) {
        isFound = true
        return
      }
      if (answer.position <= newest) throw new Error(`an event at ${answer.position} came after one at ${newest}`)
      newest = answer.position
      waiting.push(answer)
      bytes += answer.bytes
      if (waiting.length >= PAGE_EVENTS || bytes >= PAGE_BYTES) answers.pause()
      if (waiting.length === 1) wake.all()
    }

    const whole = () => end(isFound ? null : new Error('the answer ended before it began'))
    calls.read(reading, Number.POSITIVE_INFINITY, heed, stop.signal).then(whole, end)
    try {
      for (;;) {
        const woken = wake.next()
        if (signal.aborted) return
        if (waiting.length > 0) {
          // gRPC hands over one by one what arrived together.
          await turn()
          const page = waiting
          waiting = []
          bytes = 0
          flow?.resume()
          yield page
        } else if (ended) {
          if (ended.by !== null) throw ended.by
          return
        } else {
          // A node that was deposed, or that hangs, keeps its subscriptions and tells them nothing.
          await whileLed(woken, signal, async () => {
            if (!isConfirmed) throw new Error('the subscription was not confirmed')
            if (flow && !(await flow.isCurrent())) throw new Error('the client went to another node')
          })
        }
      }
    } finally {
      stop.abort()
    }
  }

  /** Pages of all events after a position, of which `limit` are wanted, however often the reading is interrupted. */
  async function* readOn(after: bigint | null, limit: number): AsyncGenerator<Recorded[]> {
    const {signal} = closing
    let last = after
    let left = limit
    let until = Number.POSITIVE_INFINITY
    for (let failures = 0; left > 0; ) {
      const before = last
      // What is at a position is read again.
      const count = Math.min(last === null ? left : left + 1, Number.MAX_SAFE_INTEGER)
      const reading: FollowReading = {all: last ?? 'start', prefix, backwards: false, count}
      try {
        for await (const page of follow(reading, signal, {isOurs: last !== after})) {
          const events = page.slice(0, left)
          last = events.at(-1)!.position
          left -= events.length
          failures = 0
          yield events
          if (left === 0) return
        }
        signal.throwIfAborted()
        // An answer that was cut short ends like one that is whole.
        if (last === before) return
      } catch (error) {
        if (failures === 0) until = performance.now() + timeoutMs
        await beforeAnother('read on', error, {failures: failures++, until, signal})
      }
    }
  }

  const eventAt = (position: bigint, signal?: AbortSignal): Promise<LogRecord | null> =>
    settle(
      'read an event',
      async (deadline) => {
        try {
          const {events} = await readPage({all: position, prefix: null, backwards: false, count: 1}, deadline)
          const [event] = events
          return event?.position === position && event.stream.startsWith(prefix) ? toRecord(event) : null
        } catch (error) {
          if (isBetweenEvents(error)) return null
          throw error
        }
      },
      {signal},
    )

  return {
    adapter: 'eventstoredb',

    append: async (stream, events, expected) => {
      if (events.length === 0) throw new RangeError('an append needs an event')
      const proposed = events.map(({id, type, data, metadata}) => ({
        id,
        type,
        data: Buffer.from(JSON.stringify(data)),
        metadata: Buffer.from(JSON.stringify(metadata)),
      }))
      const bytes = proposed.reduce((sum, {data, metadata}) => sum + data.length + metadata.length, 0)
      if (bytes > MAX_EVENT_BYTES) return {ok: false, reason: 'tooLarge'}
      return settle('take the append', async (deadline): Promise<AppendResult> => {
        try {
          const answer = await calls.append(prefix + stream, proposed, expected, deadline)
          if (answer.hasWrongExpectedVersion()) return {ok: false, reason: 'conflict'}
          const success = answer.getSuccess()
          const position = success?.getPosition()?.getCommitPosition()
          if (!success?.hasCurrentRevision() || !position) throw new Error('the answer to an append is no verdict')
          return {ok: true, revision: Number(success.getCurrentRevision()), position: BigInt(position)}
        } catch (error) {
          if (errorName(error) === 'maximum-append-size-exceeded') return {ok: false, reason: 'tooLarge'}
          throw error
        }
      })
    },

    readStream: async function* (stream, {from, backwards = false, limit = Number.POSITIVE_INFINITY} = {}) {
      let next = from ?? (backwards ? 'end' : 0)
      if (next === 'end' && !backwards) return
      for (let left = limit; left > 0; ) {
        const count = Math.min(left, STREAM_EVENTS)
        const reading: PageReading = {stream: prefix + stream, from: next, backwards, count}
        const {events, more} = await settle('read a stream', (deadline) => readPage(reading, deadline))
        for (const event of events) yield toRecord(event)
        left -= events.length
        const last = events.at(-1)
        if (!last || !more || (backwards && last.revision === 0)) return
        next = last.revision + (backwards ? -1 : 1)
      }
    },

    readAll: async function* ({after = null, limit = Number.POSITIVE_INFINITY} = {}) {
      for await (const page of readOn(after, limit)) yield page.map(toRecord)
    },

    subscribe: async function* ({after, signal}) {
      const ending = AbortSignal.any([signal, closing.signal])
      let last = after
      let lastId: string | null = null
      for (let failures = 0; !ending.aborted; failures++) {
        try {
          if (last !== null) {
            const found = await eventAt(last, ending)
            if (!found || (lastId && found.id !== lastId)) throw new HistoryChanged(`not the event that was at ${last}`)
            lastId = found.id
          }
          for await (const events of follow({all: last ?? 'start', prefix}, ending)) {
            yield events.map(toRecord)
            const end = events.at(-1)!
            last = end.position
            lastId = end.id
            failures = 0
          }
          throw new Error('the server closed the subscription')
        } catch (error) {
          if (error instanceof HistoryChanged) throw error
          if (ending.aborted) return
          onTrouble('the subscription to EventStoreDB was interrupted', error)
          await pause(backoff(failures), undefined, {signal: ending}).catch(() => {})
        }
      }
    },

    readAt: (position) => eventAt(position),

    head: () =>
      settle(
        'tell its head',
        async () => {
          // However many events of others come after ours.
          const newest: FollowReading = {all: 'end', prefix, backwards: true, count: 1}
          for await (const [event] of follow(newest, closing.signal)) return event!.position
          closing.signal.throwIfAborted()
          return null
        },
        {patient: true},
      ),

    close: async () => {
      if (closing.signal.aborted) return
      closing.abort(new LogUnavailable('the log is closed'))
      // Looks for a node first where none was found yet.
      await inTime(calls.close(), timeoutMs).catch(() => {})
    },
  }
}

const parse = (json: string): JsonObject => (json === '' ? {} : JSON.parse(json))

/** How 23.10 answers a reading of $all from a position that is not the beginning of a record (measured). */
const isBetweenEvents = (error: unknown): boolean => String(error).includes('Unexpected ReadAllResult: Error')

/** Half of 50 ms doubled with each failure, at most 1 s, and a random part of the other half. */
const backoff = (failures: number): number => Math.min(1_000, 50 * 2 ** failures) * (0.5 + Math.random() / 2)

class Silence extends Error {}

const inTime = async <T>(promise: Promise<T>, ms: number, signal?: AbortSignal): Promise<T> => {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Silence('no answer in time')), Math.max(1, ms))
  const abort = () => late.reject(signal?.reason)
  signal?.addEventListener('abort', abort, {once: true})
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}
