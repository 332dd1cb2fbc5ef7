import type {Codec, FaultyEvent, LoggedEvent} from './codec.ts'
import type {EventLog} from './eventLog.ts'
import {wakeable} from './wakeable.ts'

export type TailEvent = LoggedEvent | FaultyEvent

/** What a follower that is close behind takes from memory; one that fell further back reads the log. */
const KEPT_EVENTS = 2_000
const KEPT_CHARACTERS = 8 * 1024 * 1024

/**
 * The node's one reading of the log, from where it stood at the start. Listeners are called in order, one event after
 * the other, before anything is told to be reached; followers go at their own pace.
 */
export type Tail = {
  /** The newest event that every listener has been given; null while the log is empty. */
  position(): bigint | null
  /** Called synchronously for each event, in log order. Must not throw: what it throws ends the tail. */
  listen(listener: (event: TailEvent) => void): void
  /** Resolves with true once the tail has passed the position, with false after `ms`. */
  reached(position: bigint, ms: number): Promise<boolean>
  /**
   * All events after `after`, then what comes, in pages. What the follower has not asked for costs no memory. `gather` is
   * waited for once something has come: what comes meanwhile is in the same page.
   */
  follow(options: {
    after: bigint | null
    signal: AbortSignal
    gather?: (() => Promise<void>) | undefined
  }): AsyncIterable<TailEvent[]>
  /** Forgets the kept events: who wants them reads the log. For a listener, or between two events. */
  forget(): void
  start(): Promise<void>
  stop(): Promise<void>
}

export const openTail = ({
  log,
  codec,
  onEnd,
}: {
  log: EventLog
  codec: Codec
  /** The tail ended by itself: another history, or a fault of a listener. The node can't go on. */
  onEnd: (error: unknown) => void
}): Tail => {
  const listeners: ((event: TailEvent) => void)[] = []
  const wake = wakeable()
  const stopped = new AbortController()
  let position: bigint | null = null
  let running: Promise<void> = Promise.resolve()
  // The kept events are all that there are between `keptAfter` and `position`.
  let kept: {event: TailEvent; size: number}[] = []
  let keptAfter: bigint | null = null
  let keptSize = 0

  const keep = (event: TailEvent) => {
    const size = sizeOf(event)
    kept.push({event, size})
    keptSize += size
    if (kept.length <= KEPT_EVENTS * 2 && keptSize <= KEPT_CHARACTERS * 2) return
    let drop = 0
    while (drop < kept.length - 1 && (kept.length - drop > KEPT_EVENTS || keptSize > KEPT_CHARACTERS)) {
      keptSize -= kept[drop++]!.size
    }
    if (drop > 0) keptAfter = kept[drop - 1]!.event.position
    kept = kept.slice(drop)
  }

  const run = async (after: bigint | null) => {
    for await (const records of log.subscribe({after, signal: stopped.signal})) {
      for (const event of await codec.decode(records)) {
        for (const listener of listeners) listener(event)
        keep(event)
        position = event.position
      }
      wake.all()
    }
  }

  const keptFrom = (after: bigint | null): TailEvent[] | null => {
    if (after === null ? keptAfter !== null : keptAfter !== null && after < keptAfter) return null
    if (after === null) return kept.map(({event}) => event)
    let low = 0
    let high = kept.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (kept[middle]!.event.position > after) high = middle
      else low = middle + 1
    }
    return kept.slice(low).map(({event}) => event)
  }

  return {
    position: () => position,
    listen: (listener) => {
      listeners.push(listener)
    },
    reached: async (wanted, ms) => {
      const until = performance.now() + ms
      while (position === null || position < wanted) {
        const left = until - performance.now()
        if (left <= 0 || stopped.signal.aborted) return false
        await orAfter(wake.next(), left)
      }
      return true
    },
    follow: async function* ({after, signal, gather}) {
      let last = after
      signal.addEventListener('abort', wake.all, {once: true})
      while (!signal.aborted && !stopped.signal.aborted) {
        const woken = wake.next()
        let near = keptFrom(last)
        if (gather && near && near.length > 0) {
          await gather()
          if (signal.aborted) return
          near = keptFrom(last)
        }
        if (near === null) {
          const from = last
          for await (const records of log.readAll({after: last})) {
            if (signal.aborted) return
            yield await codec.decode(records)
            last = records.at(-1)!.position
            if (keptFrom(last) !== null) break
          }
          if (last === from) await woken
        } else if (near.length > 0) {
          yield near
          last = near.at(-1)!.position
        } else await woken
      }
    },
    forget: () => {
      kept = []
      keptSize = 0
      keptAfter = position
    },
    start: async () => {
      position = await log.head()
      keptAfter = position
      running = run(position).catch(onEnd)
    },
    stop: async () => {
      stopped.abort()
      wake.all()
      await running
    },
  }
}

/** Characters of the event's own text: near enough to its memory for a bound. */
const sizeOf = (event: TailEvent): number => {
  let size = 200
  if ('data' in event)
    for (const value of Object.values(event.data)) size += typeof value === 'string' ? value.length : 20
  return size
}

const orAfter = async (promise: Promise<void>, ms: number): Promise<void> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  try {
    await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
