import {randomUUID} from 'node:crypto'
import {setTimeout as pause} from 'node:timers/promises'
import type {Client, Pool} from 'pg'
import {reconnecting, within} from '../database/reconnect.ts'
import {addressOf, isFaulty} from '../log/codec.ts'
import type {EventLog} from '../log/eventLog.ts'
import type {Tail, TailEvent} from '../log/tail.ts'
import type {Applied} from './applied.ts'
import {beginGeneration, FENCED, type Generation, readGenerations, targetOf} from './generations.ts'
import {eraseStatements, foldRows, type ReadTable, type Statement} from './readTable.ts'

const LEASE_MS = 2_000
const RENEW_MS = 500
const BATCH_EVENTS = 5_000

type Logger = {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export type Runner = {start(): void; stop(): Promise<void>; leads(): boolean}

/**
 * Feeds the read tables, on the one node that holds the lease. Rows and checkpoints are one statement, and that
 * statement fails where the lease has gone to another node or a checkpoint is not where this node left it: that is the
 * fence, and clocks or pauses can't get round it. A table that can't take an event stops there, the others go on.
 */
export const openRunner = ({
  url,
  pool,
  log,
  logIdentity,
  tail,
  tables,
  applied,
  logger,
}: {
  url: string
  pool: Pool
  log: EventLog
  logIdentity: string
  tail: Tail
  tables: readonly ReadTable[]
  applied: Applied
  logger: Logger
}): Runner => {
  const holder = randomUUID()
  const stopped = new AbortController()
  let leading = false
  let running: Promise<void> = Promise.resolve()

  // The runner's transactions are single statements; losing the last ones in a crash costs nothing, the log has them.
  const connection = reconnecting(url, 'community projections', (client) =>
    client.query(
      `SET synchronous_commit = off; SET idle_in_transaction_session_timeout = 1000; SET statement_timeout = 60000`,
    ),
  )
  const leaseConnection = reconnecting(url, 'community projection lease', (client) =>
    client.query('SET synchronous_commit = off; SET statement_timeout = 2000'),
  )

  /** The term of the lease where this node holds it now, else null. Expiry is by the database's clock. */
  const renew = async (): Promise<string | null> => {
    const client = await leaseConnection.client()
    const {rows} = await within(
      LEASE_MS,
      client.query<{term: string}>(
        `INSERT INTO read.lease AS l (holder, term, expires_at) VALUES ($1, 1, clock_timestamp() + $2 * interval '1 ms')
         ON CONFLICT (one) DO UPDATE SET
           term = CASE WHEN l.holder = $1 THEN l.term ELSE l.term + 1 END,
           holder = $1,
           expires_at = clock_timestamp() + $2 * interval '1 ms'
         WHERE l.holder = $1 OR l.expires_at < clock_timestamp()
         RETURNING term`,
        [holder, LEASE_MS],
      ),
      () => new Error('the database did not answer in time'),
    )
    return rows[0]?.term ?? null
  }

  const release = async () => {
    const client = await leaseConnection.client()
    await within(
      1_000,
      client.query('UPDATE read.lease SET expires_at = clock_timestamp() WHERE holder = $1', [holder]),
      () => new Error('the database did not answer in time'),
    )
  }

  /** Whether the log still has, at the generation's checkpoint, the event that was there. */
  const isSameHistory = async (generation: Generation): Promise<boolean> => {
    if (generation.logIdentity !== logIdentity || generation.adapter !== log.adapter) return false
    if (generation.position === null) return true
    return (await log.readAt(generation.position))?.id === generation.eventId
  }

  const prepare = async (): Promise<Generation[]> => {
    const found = await readGenerations(pool, tables)
    for (const table of tables) {
      const generation = found.find((one) => one.table === table)
      if (generation && (await isSameHistory(generation))) continue
      if (generation)
        logger.warn({table: table.name}, 'the log is another history than the read table: building it afresh')
      await beginGeneration(pool, table, {logIdentity, adapter: log.adapter})
    }
    return readGenerations(pool, tables)
  }

  const commit = async (client: Client, term: string, changes: Map<Generation, Statement[]>, last: TailEvent) => {
    const generations = [...changes.keys()]
    const statements = [...changes.values()].flat()
    const values: unknown[] = []
    const parts = statements.map(({text, values: own}, index) => {
      const offset = values.length
      values.push(...own)
      return `c${index} AS (${text.replace(/\$(\d+)/g, (_, n) => `$${Number(n) + offset}`)})`
    })
    const n = values.length
    values.push(
      term,
      generations.map(({table}) => table.view),
      generations.map(({generation}) => generation),
      generations.map(({position}) => position?.toString() ?? null),
      last.position.toString(),
      last.id,
    )
    const advance = `SELECT read.advance($${n + 1}::bigint, $${n + 2}::text[], $${n + 3}::int[], $${n + 4}::bigint[], $${n + 5}::bigint, $${n + 6}::uuid)`
    await client.query(parts.length > 0 ? `WITH ${parts.join(', ')} ${advance}` : advance, values)
    for (const generation of generations) {
      generation.position = last.position
      generation.eventId = last.id
    }
    applied.advanced(
      generations.map(({table}) => table.view),
      last.position,
    )
  }

  const fail = async (generation: Generation, why: string) => {
    generation.fault = why
    logger.error({table: generation.table.name, fault: why}, 'a read table stopped at an event that it cannot take')
    await pool.query('UPDATE read.generations SET fault = $3 WHERE view = $1 AND generation = $2', [
      generation.table.view,
      generation.generation,
      why,
    ])
    await pool.query(`SELECT pg_notify('read', '{}')`)
  }

  /** Folds the events for one table. The fault of the first event that it can't take, or null. */
  const fold = (generation: Generation, events: TailEvent[]): {statements: Statement[]; fault: string | null} => {
    const {table} = generation
    const [first] = events
    if (events.length === 1 && first && isErasure(first)) {
      return {statements: eraseStatements(table, targetOf(generation), first.data.userId), fault: null}
    }
    const rows = foldRows(table)
    for (const event of events) {
      const handler = table.handlers[event.type]
      if (!handler || (generation.position !== null && event.position <= generation.position)) continue
      if (isFaulty(event)) return {statements: [], fault: `${addressOf(event)}: ${event.fault}`}
      try {
        handler(event, rows)
      } catch (error) {
        return {statements: [], fault: `${addressOf(event)}: ${String(error)}`}
      }
    }
    return {statements: rows.statements(targetOf(generation)), fault: null}
  }

  /** Applies the events to every table that is not stopped; where the whole fails, each table by itself. */
  const apply = async (client: Client, term: string, generations: Generation[], events: TailEvent[]) => {
    const last = events.at(-1)!
    const open = generations.filter(({fault, position}) => fault === null && (position ?? -1n) < last.position)
    const changes = new Map<Generation, Statement[]>()
    for (const generation of open) {
      const {statements, fault} = fold(generation, events)
      if (fault === null) changes.set(generation, statements)
      else if (events.length === 1) await fail(generation, fault)
      else await applySingly(client, term, generation, events)
    }
    if (changes.size === 0) return
    try {
      await commit(client, term, changes, last)
    } catch (error) {
      if (!isRowError(error)) throw error
      for (const generation of changes.keys()) await applySingly(client, term, generation, events)
    }
  }

  /** Event by event, up to the one that the table can't take. */
  const applySingly = async (client: Client, term: string, generation: Generation, events: TailEvent[]) => {
    for (const event of events) {
      if (generation.position !== null && event.position <= generation.position) continue
      const {statements, fault} = fold(generation, [event])
      if (fault !== null) return fail(generation, fault)
      try {
        await commit(client, term, new Map([[generation, statements]]), event)
      } catch (error) {
        if (!isRowError(error)) throw error
        return fail(generation, `${addressOf(event)}: ${String(error)}`)
      }
    }
  }

  const goLive = async (generations: Generation[], head: bigint | null) => {
    for (const generation of generations) {
      if (generation.state === 'live' || generation.fault !== null) continue
      if (head !== null && (generation.position ?? -1n) < head) continue
      await pool.query(`UPDATE read.generations SET state = 'live' WHERE view = $1 AND generation = $2`, [
        generation.table.view,
        generation.generation,
      ])
      await pool.query(`SELECT pg_notify('read', '{}')`)
      generation.state = 'live'
    }
  }

  const lead = async (term: string, signal: AbortSignal): Promise<void> => {
    const generations = await prepare()
    const head = await log.head()
    // A table that stopped is tried again by each new leader: what it stopped at may be mended by now.
    for (const generation of generations) generation.fault = null
    await goLive(generations, head)
    const positions = generations.map(({position}) => position)
    const after = positions.includes(null) ? null : positions.reduce((low, one) => (one! < low! ? one : low))
    const client = await connection.client()
    for await (const page of tail.follow({after: after ?? null, signal})) {
      for (const events of runsOf(page)) {
        if (signal.aborted) return
        await apply(client, term, generations, events)
      }
      if (generations.some(({state}) => state === 'building')) await goLive(generations, head)
    }
  }

  const run = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      try {
        const term = await renew()
        if (term !== null) await leadWhileHeld(term)
        else await pause(RENEW_MS, undefined, {signal: stopped.signal, ref: false}).catch(() => {})
      } catch (error) {
        if (stopped.signal.aborted) return
        logger.warn({error: String(error)}, 'the read tables are not fed right now')
        connection.drop()
        leaseConnection.drop()
        await pause(200, undefined, {ref: false})
      }
    }
  }

  const leadWhileHeld = async (term: string): Promise<void> => {
    const over = new AbortController()
    const stop = () => over.abort()
    stopped.signal.addEventListener('abort', stop, {once: true})
    const keepLease = async () => {
      while (!over.signal.aborted) {
        await pause(RENEW_MS, undefined, {signal: over.signal, ref: false}).catch(() => {})
        if (over.signal.aborted) return
        const now = await renew().catch(() => null)
        if (now !== term) over.abort()
      }
    }
    leading = true
    const kept = keepLease()
    try {
      await lead(term, over.signal)
    } catch (error) {
      if ((error as {code?: string}).code === FENCED) logger.warn({term}, 'another node feeds the read tables now')
      else throw error
    } finally {
      leading = false
      over.abort()
      stopped.signal.removeEventListener('abort', stop)
      await kept
    }
  }

  return {
    leads: () => leading,
    start: () => {
      running = run()
    },
    stop: async () => {
      stopped.abort()
      await running
      await release().catch(() => {})
      await Promise.all([connection.close(), leaseConnection.close()])
    },
  }
}

const isErasure = (event: TailEvent): event is Extract<TailEvent, {type: 'UserErased'; data: object}> =>
  event.type === 'UserErased' && !isFaulty(event)

/** Runs of events that are folded together. An erasure is one by itself: it changes rows by what they hold, not by key. */
const runsOf = (page: TailEvent[]): TailEvent[][] => {
  const runs: TailEvent[][] = []
  let run: TailEvent[] = []
  const end = () => {
    if (run.length > 0) runs.push(run)
    run = []
  }
  for (const event of page) {
    if (isErasure(event)) {
      end()
      runs.push([event])
    } else {
      run.push(event)
      if (run.length === BATCH_EVENTS) end()
    }
  }
  end()
  return runs
}

/** The statement was refused because of a row, not because of the connection, the lease or the server. */
const isRowError = (error: unknown): boolean => {
  const code = (error as {code?: unknown}).code
  return typeof code === 'string' && /^(21|22|23|42)/.test(code)
}
