import {setTimeout as pause, setImmediate} from 'node:timers/promises'
import type {Client, Pool, QueryConfig} from 'pg'
import {reconnecting} from '../database/reconnect.ts'
import {readGenerations} from './generations.ts'
import type {ReadTable} from './readTable.ts'

const POLL_MS = 1_000

/** A node that is told of many commits has something else to do as well. */
const TELL_MS = 5

/** A database that does not answer must not hold up a stop. */
const STOP_MS = 1_000

/** What was last heard is believed for so long: twice as long as it takes to hear again. */
const FRESH_MS = 2_000

/** `fault`: the event it stopped at and why; `because`: why it is built afresh. */
type State = {
  generation: number
  position: bigint | null
  live: boolean
  fault: string | null
  because: string | null
}

/** How far each read table is, as this node knows. */
export type Applied = {
  /** True once every one of the tables holds all events up to the position; false after `ms`. */
  reached(tables: readonly ReadTable[], position: bigint, ms: number): Promise<boolean>
  /** Resolves as soon as somebody waits for one of these tables, or after `ms`. */
  awaited(tables: readonly ReadTable[], ms: number): Promise<void>
  /** Tables that may not be read: not built yet. */
  building(tables: readonly ReadTable[]): string[]
  states(): ReadonlyMap<string, State>
  /** What a live table holds at least, and which of its generations is shown; null while the database is not heard. */
  known(table: ReadTable): {generation: number; position: bigint} | null
  /** Called when a generation was begun, joined, switched to or dropped. Gives what ends it. */
  onChange(listener: () => void): () => void
  /** The runner of this process has committed: who waits here need not wait for a notice, and other nodes are told. */
  advanced(views: readonly string[], position: bigint): void
  start(): Promise<void>
  stop(): Promise<void>
}

/**
 * Follows the checkpoints by NOTIFY, with a poll behind it. After each reconnect they are read afresh: a database that
 * was restored or lost its newest commits may hold less than this node remembers.
 */
export const openApplied = ({url, pool, tables}: {url: string; pool: Pool; tables: readonly ReadTable[]}): Applied => {
  const states = new Map<string, State>()
  const waiting = new Set<{isFor(tables: readonly ReadTable[]): boolean; look(): void}>()
  const lookAgain = () => {
    for (const waiter of waiting) waiter.look()
  }
  const gathering = new Set<() => void>()
  let stopped = false
  let heardAt = Number.NEGATIVE_INFINITY
  const untold = new Map<string, bigint>()
  const unheard = () => {
    heardAt = Number.NEGATIVE_INFINITY
  }

  const listeners = new Set<() => void>()
  // What notices said while a read was under way is newer than what the read brings.
  const reading = new Set<Map<string, bigint>>()

  const readAfresh = async () => {
    const noticed = new Map<string, bigint>()
    reading.add(noticed)
    try {
      const generations = await readGenerations(pool, tables)
      states.clear()
      for (const {table, generation, position, state, fault, because} of generations) {
        // A view with nothing live shows a table that is being built: it may not be read.
        if (state !== 'live' && (state !== 'building' || states.get(table.view)?.live)) continue
        const newer = noticed.get(table.view)
        const newest = newer !== undefined && newer > (position ?? -1n) ? newer : position
        states.set(table.view, {generation, position: newest, live: state === 'live', fault, because})
      }
      heardAt = performance.now()
    } finally {
      reading.delete(noticed)
    }
    lookAgain()
  }

  const learn = (positions: ReadonlyMap<string, bigint>) => {
    for (const [view, position] of positions) {
      for (const noticed of reading) if (position > (noticed.get(view) ?? -1n)) noticed.set(view, position)
      const state = states.get(view)
      if (state && (state.position ?? -1n) < position) states.set(view, {...state, position, fault: null})
    }
    lookAgain()
  }

  const prepare = async (client: Client) => {
    client.on('notification', ({payload}) => {
      const {p, v} = JSON.parse(payload || '{}') as {p?: string; v?: string[]}
      if (p !== undefined && v) learn(new Map(v.map((view) => [view, BigInt(p)])))
      else {
        unheard()
        readAfresh().catch(() => {})
        for (const listener of listeners) listener()
      }
    })
    await client.query('LISTEN read')
    for (const listener of listeners) listener()
  }
  const listener = reconnecting(url, 'community read table listener', prepare, () => {
    unheard()
    // The database may come back without the commits that these were.
    untold.clear()
  })

  const ask = (statement: () => QueryConfig) =>
    listener.ask(
      3_000,
      (client) => client.query(statement()),
      () => new Error('the database did not answer in time'),
    )

  const notice = () => {
    const notices = [...Map.groupBy(untold, ([, position]) => position)].map(([position, told]) =>
      JSON.stringify({p: position.toString(), v: told.map(([view]) => view)}),
    )
    untold.clear()
    return {name: 'tell', text: `SELECT pg_notify('read', n) FROM unnest($1::text[]) AS n`, values: [notices]}
  }
  let telling: Promise<void> | null = null
  /** Once those who wait here have been answered, and by the connection that listens, which need not be woken for it. */
  const tell = async () => {
    await setImmediate()
    while (untold.size > 0) {
      // Who is not told looks by itself.
      await ask(notice).catch(() => untold.clear())
      await pause(TELL_MS, undefined, {ref: false})
    }
    telling = null
  }

  const watch = async () => {
    while (!stopped) {
      await pause(POLL_MS, undefined, {ref: false})
      if (stopped) return
      try {
        await ask(() => ({text: 'SELECT 1'}))
        await readAfresh()
      } catch {
        listener.drop()
      }
    }
  }

  return {
    reached: (wanted, position, ms) => {
      const isBehind = ({view}: ReadTable) => (states.get(view)?.position ?? -1n) < position
      const isThere = () => !wanted.some(isBehind)
      if (isThere() || stopped) return Promise.resolve(isThere())
      return new Promise((resolve) => {
        const end = (isReached: boolean) => {
          clearTimeout(timer)
          waiting.delete(waiter)
          resolve(isReached)
        }
        const waiter = {
          isFor: (of: readonly ReadTable[]) => wanted.some((one) => of.includes(one) && isBehind(one)),
          look: () => {
            if (isThere() || stopped) end(isThere())
          },
        }
        const timer = setTimeout(end, ms, false)
        waiting.add(waiter)
        for (const look of gathering) look()
      })
    },
    awaited: (of, ms) =>
      new Promise((resolve) => {
        const look = () => {
          if ([...waiting].some((waiter) => waiter.isFor(of))) end()
        }
        const end = () => {
          clearTimeout(timer)
          gathering.delete(look)
          resolve()
        }
        const timer = setTimeout(end, ms)
        gathering.add(look)
        look()
      }),
    building: (wanted) => wanted.filter(({view}) => !states.get(view)?.live).map(({name}) => name),
    states: () => states,
    known: ({view}) => {
      const state = states.get(view)
      if (!state?.live || performance.now() - heardAt > FRESH_MS) return null
      return {generation: state.generation, position: state.position ?? -1n}
    },
    onChange: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    advanced: (views, position) => {
      const positions = new Map(views.map((view) => [view, position]))
      learn(positions)
      for (const [view] of positions) untold.set(view, position)
      telling ??= tell()
    },
    start: async () => {
      await listener.client()
      await readAfresh()
      void watch()
    },
    stop: async () => {
      stopped = true
      lookAgain()
      await Promise.race([telling, pause(STOP_MS, undefined, {ref: false})])
      await listener.close()
    },
  }
}
