import {randomUUID} from 'node:crypto'
import {setTimeout as pause} from 'node:timers/promises'
import type {Pool} from 'pg'
import {type Connection, reconnecting, within} from '../database/reconnect.ts'
import type {Codec} from '../log/codec.ts'
import type {EventLog} from '../log/eventLog.ts'
import type {Tail} from '../log/tail.ts'
import type {Applied} from './applied.ts'
import {type Feeding, feed} from './feeding.ts'
import {fill} from './fill.ts'
import {addIndexes, beginAnew, type Generation, goLive, isFenced, isOfLog, readGenerations} from './generations.ts'
import type {ReadTable} from './readTable.ts'

const LEASE_MS = 2_000
const RENEW_MS = 500
/** So long what comes is gathered for tables that are fed apart, unless somebody waits for one of them. */
const GATHER_MS = 100

type Log = (fields: object, message: string) => void
type Logger = {warn: Log; error: Log}

export type Runner = {
  /**
   * Whoever leads, no node begins to read tables before this: those that are not there are begun, and those of another
   * history are begun anew. Throws where one can't be made.
   */
  check(): Promise<void>
  start(): void
  stop(): Promise<void>
  /** The views that this node feeds. */
  leads(): string[]
}

/** The lease's term by view, for the views that this node holds. */
type Terms = ReadonlyMap<string, string>

/** Tables that are fed together, and by what connections. */
type Lane = {tables: readonly ReadTable[]; connection: Connection; filling: Connection; gather?: () => Promise<void>}

/**
 * Feeds the read tables of the views whose lease this node holds. Two lanes, of which none waits for the other: tables that
 * people wait for, and those that are fed apart. In each all that has caught up is fed together, from the tail; a view's
 * first generation by itself, from the log's beginning, so that it keeps nobody waiting.
 */
export const openRunner = ({
  url,
  pool,
  log,
  codec,
  logIdentity,
  tail,
  tables,
  applied,
  logger,
}: {
  url: string
  pool: Pool
  log: EventLog
  codec: Codec
  logIdentity: string
  tail: Tail
  tables: readonly ReadTable[]
  applied: Applied
  logger: Logger
}): Runner => {
  const holder = randomUUID()
  const views = tables.map(({view}) => view)
  const stopped = new AbortController()
  let terms: Terms = new Map()
  let running: Promise<void> = Promise.resolve()

  // The runner's transactions are single statements; losing the last ones in a crash costs nothing, the log has them.
  const settings = 'SET synchronous_commit = off; SET idle_in_transaction_session_timeout = 1000; SET statement_timeout'
  const connected = (name: string) => reconnecting(url, name, (client) => client.query(`${settings} = 60000`))
  const lanes = [...Map.groupBy(tables, ({apart}) => apart)].map(([apart, tables]): Lane => {
    const connection = connected(`community projections${apart ? ', apart' : ''}`)
    const filling = connected('community projections, building')
    return {tables, connection, filling, ...(apart && {gather: () => applied.awaited(tables, GATHER_MS)})}
  })
  const connections = lanes.flatMap(({connection, filling}) => [connection, filling])
  const leaseConnection = reconnecting(url, 'community projection leases', (client) =>
    client.query(`${settings} = 2000`),
  )

  /** Takes and renews what can be had. Expiry is by the database's clock. */
  const renew = async (): Promise<Terms> => {
    const client = await leaseConnection.client()
    const {rows} = await within(
      LEASE_MS,
      client.query<{view: string; term: string}>(
        `INSERT INTO read.leases AS l (view, holder, term, expires_at)
         SELECT v, $1, 1, clock_timestamp() + $3 * interval '1 ms' FROM unnest($2::text[]) AS v ORDER BY v
         ON CONFLICT (view) DO UPDATE SET
           term = CASE WHEN l.holder = $1 THEN l.term ELSE l.term + 1 END,
           holder = $1,
           expires_at = clock_timestamp() + $3 * interval '1 ms'
         WHERE l.holder = $1 OR l.expires_at < clock_timestamp()
         RETURNING view, term`,
        [holder, views, LEASE_MS],
      ),
      () => new Error('the database did not answer in time'),
    )
    return new Map(rows.map(({view, term}) => [view, term]))
  }

  const release = async () => {
    const client = await leaseConnection.client()
    await within(
      1_000,
      client.query('UPDATE read.leases SET expires_at = clock_timestamp() WHERE holder = $1', [holder]),
      () => new Error('the database did not answer in time'),
    )
  }

  /** The generations of the views that this node leads; those of another history are begun anew. */
  const prepare = async (led: readonly ReadTable[], check: boolean): Promise<Generation[]> => {
    const found = await readGenerations(pool, led)
    let changed = false
    for (const table of led) {
      const own = found.filter((generation) => generation.table === table)
      const isSame = !check || (await Promise.all(own.map((one) => isOfLog(log, logIdentity, one)))).every(Boolean)
      if (own.length > 0 && isSame) continue
      const of = {logIdentity, adapter: log.adapter, found: own}
      if (own.length === 0) await beginAnew(pool, table, of)
      else {
        const because = 'the log is another history than the read table: building it afresh'
        logger.warn({table: table.name}, because)
        await beginAnew(pool, table, {...of, because})
      }
      changed = true
    }
    return changed ? readGenerations(pool, led) : found
  }

  const failed = async (generation: Generation, why: string): Promise<void> => {
    generation.fault = why
    const {table} = generation
    logger.error({table: table.name, fault: why}, 'a read table stopped at an event that it cannot take')
    await pool.query('UPDATE read.generations SET fault = $3 WHERE view = $1 AND generation = $2', [
      table.view,
      generation.generation,
      why,
    ])
    await pool.query(`SELECT pg_notify('read', '{}')`)
  }

  const feedingBy = async (by: Connection, held: Terms): Promise<Feeding> => ({
    client: await by.client(),
    termOf: (view) => held.get(view) ?? null,
    advanced: (generations, position) => {
      const live = generations.filter(({state}) => state === 'live')
      applied.advanced(
        live.map(({table}) => table.view),
        position,
      )
    },
    failed,
  })

  /** Builds views that have nothing live, in one reading of the log, and lets them be read once they have caught up. */
  const build = async (
    {filling}: Lane,
    generations: readonly Generation[],
    held: Terms,
    signal: AbortSignal,
  ): Promise<void> => {
    const feeding = await feedingBy(filling, held)
    // Twice: while indexes are made, more is written.
    for (const next of [(one: Generation) => addIndexes(feeding.client, one), (one: Generation) => goLive(pool, one)]) {
      await fill({log, codec}, feeding, generations, {signal})
      if (signal.aborted) return
      for (const generation of generations) if (generation.fault === null) await next(generation)
    }
  }

  /** Feeds until the signal: the generations are read again whenever any of them changed its state. */
  const lead = async (lane: Lane, held: Terms, signal: AbortSignal): Promise<void> => {
    const led = lane.tables.filter(({view}) => held.has(view))
    let first = true
    let building: Promise<void> | null = null
    let buildFault: unknown = null
    let lookAgain = () => {}
    while (!signal.aborted) {
      const changed = new AbortController()
      const onChange = () => changed.abort()
      lookAgain = onChange
      const forget = applied.onChange(onChange)
      signal.addEventListener('abort', onChange, {once: true})
      try {
        const generations = await prepare(led, first)
        // A table that stopped is tried again by each new leader: what it stopped at may be mended by now.
        if (first) for (const generation of generations) generation.fault = null
        first = false
        const isLive = new Set(generations.filter(({state}) => state === 'live').map(({table}) => table))
        const unread = generations.filter(({state, table}) => state === 'building' && !isLive.has(table))
        if (unread.length > 0 && !building) {
          building = build(lane, unread, held, signal).then(
            () => {
              building = null
            },
            (error) => {
              buildFault = error
              lookAgain()
            },
          )
        }
        const fed = generations.filter(({state}) => state !== 'building')
        const feeding = await feedingBy(lane.connection, held)
        const lowest = fed.filter(({fault}) => fault === null).map(({position}) => position)
        const after = lowest.reduce(
          (low, one) => (low === null || one === null ? null : one < low ? one : low),
          lowest[0] ?? tail.position(),
        )
        const {gather} = lane
        for await (const page of tail.follow({after, signal: changed.signal, gather})) await feed(feeding, fed, page)
        if (buildFault) throw buildFault
      } finally {
        forget()
        signal.removeEventListener('abort', onChange)
      }
    }
    await building
  }

  const leadWhileHeld = async (held: Terms): Promise<void> => {
    const over = new AbortController()
    const stop = () => over.abort()
    stopped.signal.addEventListener('abort', stop, {once: true})
    const endAll = () => {
      over.abort()
      for (const connection of connections) connection.drop()
    }
    const isSame = (now: Terms) => now.size === held.size && [...now].every(([view, term]) => held.get(view) === term)
    const keepLeases = async () => {
      while (!over.signal.aborted) {
        await pause(RENEW_MS, undefined, {signal: over.signal, ref: false}).catch(() => {})
        if (over.signal.aborted) return
        const now = await renew().catch(() => new Map<string, string>())
        if (isSame(now)) continue
        // A database that says nothing any more would not end the statement that it may have been given.
        endAll()
      }
    }
    terms = held
    const kept = keepLeases()
    // The lanes end together: what one has under way may never be answered where another was cut off.
    const ends = lanes.map(async (lane) => {
      try {
        await lead(lane, held, over.signal)
      } catch (error) {
        endAll()
        throw error
      }
    })
    try {
      await Promise.all(ends)
    } catch (error) {
      if (!isFenced(error)) throw error
      logger.warn({}, 'a read table is fed by another node now, or was dropped: looking again')
    } finally {
      terms = new Map()
      over.abort()
      stopped.signal.removeEventListener('abort', stop)
      await Promise.allSettled([...ends, kept])
    }
  }

  const run = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      try {
        const held = await renew()
        if (stopped.signal.aborted) return
        if (held.size > 0) await leadWhileHeld(held)
        else await pause(RENEW_MS, undefined, {signal: stopped.signal, ref: false}).catch(() => {})
      } catch (error) {
        if (stopped.signal.aborted) return
        logger.warn({error: String(error)}, 'the read tables are not fed right now')
        for (const connection of [...connections, leaseConnection]) connection.drop()
        await pause(200, undefined, {ref: false})
      }
    }
  }

  return {
    check: async () => {
      await prepare(tables, true)
    },
    leads: () => [...terms.keys()],
    start: () => {
      running = run()
    },
    stop: async () => {
      stopped.abort()
      await running
      await release().catch(() => {})
      await Promise.all([...connections, leaseConnection].map((connection) => connection.close()))
    },
  }
}
