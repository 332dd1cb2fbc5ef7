import {randomUUID} from 'node:crypto'
import {setTimeout as pause} from 'node:timers/promises'
import type {DomainEvent} from '../domain/catalogue.ts'
import {type Decision, isRefusal, type Refusal} from '../domain/event.ts'
import {addressOf, type Codec, type EventMetadata, isFaulty, type LoggedEvent} from '../log/codec.ts'
import {type EventLog, type ExpectedRevision, LogUnavailable, type NewRecord} from '../log/eventLog.ts'
import type {TailEvent} from '../log/tail.ts'
import type {Fold} from '../streams/streams.ts'

/** How long a command tries against conflicts and an unreachable log before it gives up. */
const PATIENCE_MS = 2_000
/** What one append takes of the commands that wait for the same stream. */
const BATCH_BYTES = 512 * 1024
/** Commands that may wait for one stream; the next one is refused with Busy. */
const WAITING = 10_000
/** Streams whose state is kept in memory. The least recently used goes first. */
const CACHED_STREAMS = 5_000
/** How long a stream counts as contended after another node's event in it was met. */
const CONTENDED_MS = 1_000
/** How long a node may write a stream without a gap in which another node could read it and append. */
const UNBROKEN_MS = 50
/**
 * What counts as a round trip is at most so many times the one before, and at most so long: an append that was retried took
 * longer, and so did one that this process was too busy to hear of. Neither is a measure for a pause.
 */
const MAX_GROWTH = 1.2
const MAX_ROUND_TRIP_MS = 50

/** The stream could not be written within {@link PATIENCE_MS}, because others wrote it; or too many commands wait for it. */
export class Busy extends Error {
  override name = 'Busy'
}

/** Who sent the command, within which request, because of which event. `name` is the command's own. */
export type CommandContext = {
  name: string
  actor: string | null
  correlationId: string
  causationId?: string
}

/** What was appended (nothing where all was as wished), the position to wait for, and the state after it. */
export type Executed<S, E> = {
  events: readonly E[]
  state: S
  /** Of the last event appended, or of the newest event of the stream that the decision rests on. Null: an empty stream. */
  position: bigint | null
  /** Of the last event appended: what comes of it names it as its cause. */
  eventId?: string
  time: string
}

type Snapshot<S> = {state: S; revision: number; position: bigint | null}

type Work<S, E> = {
  context: CommandContext
  time: string
  firstEventId: string
  begins: boolean
  decide: (state: S) => Decision<E> | Promise<Decision<E>>
  deadline: number
  settle: (result: Executed<S, E> | Refusal) => void
  fail: (error: unknown) => void
}

type Stream = {
  fold: Fold<unknown, DomainEvent>
  cached: Snapshot<unknown> | null
  /** For each read under way: the events that the tail brought meanwhile. */
  reading: Set<TailEvent[]>
  /** Ids of the append under way, to tell own events from others'. */
  appending: Set<string>
  waiting: Work<unknown, DomainEvent>[]
  busy: boolean
  contendedUntil: number
  roundTripMs: number
  wroteAt: number
  unbrokenSince: number
}

export type Execute = ReturnType<typeof openExecute>

/**
 * Runs commands: load the stream, decide, append at the exact revision, and on a conflict load what is new and decide
 * again. Commands that wait for the same stream share one append. A refusal that rests on remembered state is decided
 * again from the log before it is given.
 */
export const openExecute = ({log, codec}: {log: EventLog; codec: Codec}) => {
  const streams = new Map<string, Stream>()
  // What was read or decided before everything was forgotten must not be remembered after it.
  let forgotten = 0

  const streamOf = <S, E extends DomainEvent>(name: string, fold: Fold<S, E>): Stream => {
    let stream = streams.get(name)
    if (stream) streams.delete(name)
    else {
      const unknown = fold as unknown as Fold<unknown, DomainEvent>
      stream = {
        fold: unknown,
        cached: null,
        reading: new Set(),
        appending: new Set(),
        waiting: [],
        busy: false,
        contendedUntil: Number.NEGATIVE_INFINITY,
        roundTripMs: 2,
        wroteAt: 0,
        unbrokenSince: 0,
      }
    }
    streams.set(name, stream)
    if (streams.size > CACHED_STREAMS) {
      for (const [other, {busy, waiting, reading}] of streams) {
        if (other === name || busy || waiting.length > 0 || reading.size > 0) continue
        streams.delete(other)
        break
      }
    }
    return stream
  }

  const advance = (stream: Stream, from: Snapshot<unknown>, events: readonly LoggedEvent[]): Snapshot<unknown> => {
    const last = events.at(-1)
    if (!last) return from
    return {state: stream.fold.evolve(from.state, events), revision: last.revision, position: last.position}
  }

  /** What is new in the log, on top of what is remembered. */
  const refresh = async (name: string, stream: Stream): Promise<Snapshot<unknown>> => {
    const from = stream.cached ?? {state: stream.fold.initial, revision: -1, position: null}
    const missed: TailEvent[] = []
    const before = forgotten
    stream.reading.add(missed)
    try {
      const events: LoggedEvent[] = []
      const records = []
      const {newest} = stream.fold
      if (newest !== undefined && !stream.cached) {
        for await (const record of log.readStream(name, {from: 'end', backwards: true, limit: newest}))
          records.unshift(record)
      } else {
        for await (const record of log.readStream(name, {from: from.revision + 1})) records.push(record)
      }
      for (const event of await codec.decode(records)) {
        if (isFaulty(event)) throw new Error(`${addressOf(event)} can't be read: ${event.fault}`)
        events.push(event)
      }
      let snapshot = advance(stream, from, events)
      const later = missed.filter(
        (event): event is LoggedEvent => event.revision > snapshot.revision && !isFaulty(event),
      )
      if (later.every((event, index) => event.revision === snapshot.revision + 1 + index)) {
        snapshot = advance(stream, snapshot, later)
      }
      if (before === forgotten && (stream.cached?.revision ?? -1) <= snapshot.revision) stream.cached = snapshot
      return snapshot
    } finally {
      stream.reading.delete(missed)
    }
  }

  const append = async (name: string, records: NewRecord[], expected: ExpectedRevision, deadline: number) => {
    // An unknown outcome: the same events, ids and revision again; the log answers as it did the first time.
    for (;;) {
      try {
        return await log.append(name, records, expected)
      } catch (error) {
        if (!(error instanceof LogUnavailable) || performance.now() >= deadline) throw error
        await pause(50)
      }
    }
  }

  type Decided = {
    work: Work<unknown, DomainEvent>
    events: readonly DomainEvent[]
    state: unknown
    records: NewRecord[]
  }

  /** One round: decide for all that wait, as far as one append holds them, and append. What it gives up leaves the batch. */
  const round = async (
    name: string,
    stream: Stream,
    batch: Work<unknown, DomainEvent>[],
    begins: boolean,
  ): Promise<void> => {
    // Of more events than these the state forgets the first before the log holds them.
    const most = stream.fold.newest ?? Number.POSITIVE_INFINITY
    const before = forgotten
    let fresh = stream.cached === null && !begins
    let snapshot =
      stream.cached ??
      (begins ? {state: stream.fold.initial, revision: -1, position: null} : await refresh(name, stream))
    for (;;) {
      const decided: Decided[] = []
      const refused: {work: Work<unknown, DomainEvent>; refusal: Refusal}[] = []
      const failed: Work<unknown, DomainEvent>[] = []
      let state = snapshot.state
      let bytes = 0
      let count = 0
      for (const work of batch) {
        try {
          const decision = await work.decide(state)
          if (isRefusal(decision)) {
            refused.push({work, refusal: decision})
            continue
          }
          const records = await Promise.all(
            decision.map((event, index) =>
              index === 0
                ? codec.encode({id: work.firstEventId, event, metadata: metadataOf(work)})
                : codec.encode({
                    id: randomUUID(),
                    event,
                    metadata: {...metadataOf(work), causationId: work.firstEventId},
                  }),
            ),
          )
          const size = records.reduce((sum, record) => sum + Buffer.byteLength(JSON.stringify(record)), 0)
          if (decided.length > 0 && (bytes + size > BATCH_BYTES || count + records.length > most)) {
            stream.waiting.unshift(...batch.splice(batch.indexOf(work)))
            break
          }
          bytes += size
          count += records.length
          if (decision.length > 0) state = stream.fold.evolve(state, decision)
          decided.push({work, events: decision, state, records})
        } catch (error) {
          failed.push(work)
          work.fail(error)
        }
      }
      for (const work of failed) batch.splice(batch.indexOf(work), 1)
      // That nothing is to be done is as much a verdict on the state as that nothing may be.
      const unchanged = decided.some(({events}) => events.length === 0)
      if ((refused.length > 0 || unchanged) && !fresh) {
        snapshot = await refresh(name, stream)
        fresh = true
        continue
      }
      const records = decided.flatMap(({records}) => records)
      const settle = (position: bigint | null) => {
        for (const {work, events, state, records} of decided) {
          const last = records.at(-1)
          work.settle({events, state, position, time: work.time, ...(last && {eventId: last.id})})
        }
        for (const {work, refusal} of refused) work.settle(refusal)
      }
      if (records.length === 0) return settle(snapshot.position)
      const began = performance.now()
      const deadline = Math.max(...batch.map((work) => work.deadline))
      const expected = snapshot.revision === -1 ? 'none' : snapshot.revision
      stream.appending = new Set(records.map(({id}) => id))
      const result = await append(name, records, expected, deadline)
      stream.wroteAt = performance.now()
      stream.roundTripMs = Math.min(stream.wroteAt - began, MAX_GROWTH * stream.roundTripMs, MAX_ROUND_TRIP_MS)
      if (result.ok) {
        if (before === forgotten && (stream.cached?.revision ?? -1) < result.revision) {
          stream.cached = {state, revision: result.revision, position: result.position}
        }
        return settle(result.position)
      }
      if (result.reason === 'tooLarge') throw new RangeError(`an event for ${name} is larger than the log takes`)
      stream.contendedUntil = performance.now() + CONTENDED_MS
      for (const work of batch.filter(({deadline}) => performance.now() >= deadline)) {
        batch.splice(batch.indexOf(work), 1)
        work.fail(new Busy(`${name} is written by others`))
      }
      if (batch.length === 0) return
      await pause(Math.random() * 2 * stream.roundTripMs)
      snapshot = await refresh(name, stream)
      fresh = true
    }
  }

  const run = async (name: string, stream: Stream): Promise<void> => {
    if (stream.busy) return
    stream.busy = true
    // Lets the commands of this turn of the event loop share the first append.
    await Promise.resolve()
    let begins = false
    while (stream.waiting.length > 0) {
      await giveWay(stream)
      const batch = stream.waiting
      stream.waiting = []
      begins = batch.every((work) => work.begins)
      try {
        await round(name, stream, batch, begins)
      } catch (error) {
        for (const work of batch) work.fail(error)
      }
    }
    stream.busy = false
    // What was only just begun is seldom written again, and would drive from memory what is.
    if (begins) streams.delete(name)
  }

  /**
   * Whoever lost a conflict gets a turn: where others were seen to write the stream, after each append; where they were
   * not, now and then, because those who always lose are never seen.
   */
  const giveWay = async (stream: Stream): Promise<void> => {
    const gap = performance.now() - stream.wroteAt
    const wide = 2 * stream.roundTripMs
    const contended = stream.contendedUntil > performance.now()
    const due = performance.now() - stream.unbrokenSince > UNBROKEN_MS
    const wanted = contended ? Math.random() * wide : due ? wide : 0
    if (gap < wanted) await pause(wanted - gap)
    if (gap >= wide || due) stream.unbrokenSince = performance.now()
  }

  const metadataOf = ({context, time}: Work<unknown, DomainEvent>): Omit<EventMetadata, 'version'> => ({
    time,
    actor: context.actor,
    command: context.name,
    correlationId: context.correlationId,
    causationId: context.causationId ?? null,
  })

  return {
    /**
     * `decide` may run several times, each time with newer state; it must not change anything. `firstEventId` is given
     * where something must know the id before the event is there. `begins`: the stream is hardly ever there before, so it
     * is read only where the append says that it is. Throws {@link Busy} and LogUnavailable.
     */
    execute: <S, E extends DomainEvent>(
      name: string,
      fold: Fold<S, E>,
      context: CommandContext,
      decide: (state: S) => Decision<E> | Promise<Decision<E>>,
      {firstEventId = randomUUID(), begins = false}: {firstEventId?: string; begins?: boolean} = {},
    ): Promise<Executed<S, E> | Refusal> => {
      const stream = streamOf(name, fold)
      if (stream.waiting.length >= WAITING) return Promise.reject(new Busy(`too many commands wait for ${name}`))
      return new Promise((settle, fail) => {
        const work: Work<S, E> = {
          context,
          time: new Date().toISOString(),
          firstEventId,
          begins,
          decide,
          deadline: performance.now() + PATIENCE_MS,
          settle,
          fail,
        }
        stream.waiting.push(work as unknown as Work<unknown, DomainEvent>)
        void run(name, stream)
      })
    },

    /** A stream's state: as remembered and kept up by the tail, or, where `fresh`, as the log has it now. */
    load: async <S, E extends DomainEvent>(
      name: string,
      fold: Fold<S, E>,
      {fresh = false}: {fresh?: boolean} = {},
    ): Promise<Snapshot<S>> => {
      const stream = streamOf(name, fold)
      const snapshot = fresh || !stream.cached ? await refresh(name, stream) : stream.cached
      return snapshot as Snapshot<S>
    },

    /** The tail's listener: what others (and this node) appended reaches the remembered state. */
    observe: (event: TailEvent): void => {
      const stream = streams.get(event.stream)
      if (!stream) return
      for (const missed of stream.reading) missed.push(event)
      const {cached} = stream
      if (!cached || event.revision <= cached.revision) return
      if (isFaulty(event) || event.revision !== cached.revision + 1) {
        stream.cached = null
        return
      }
      stream.cached = advance(stream, cached, [event])
      if (stream.busy && !stream.appending.has(event.id)) stream.contendedUntil = performance.now() + CONTENDED_MS
    },

    /** What is remembered may be behind what the tail missed: forget it. */
    forget: (): void => {
      forgotten++
      for (const stream of streams.values()) stream.cached = null
    },
  }
}
