import {setTimeout as pause, setImmediate} from 'node:timers/promises'
import {Pool, type QueryResult, type QueryResultRow} from 'pg'
import {reconnecting, within} from '../database/reconnect.ts'
import {
  type AppendResult,
  type EventLog,
  HistoryChanged,
  type JsonObject,
  type LogOptions,
  type LogRecord,
  LogUnavailable,
  MAX_EVENT_BYTES,
  type NewRecord,
} from './eventLog.ts'
import {APPEND_DDL, APPEND_SETTINGS, type Append, appendBatch, INDEXED} from './postgresAppend.ts'
import {wakeable} from './wakeable.ts'

const PAGE_EVENTS = 512
const PAGE_BYTES = 4 * 1024 * 1024
/** What one statement may append for all that wait: enough to share a commit widely, little enough to answer quickly. */
const BATCH_APPENDS = 256
const BATCH_BYTES = 1024 * 1024
/** Own events that the tail takes from memory instead of reading them back. Past either bound it reads them. */
const OWN_EVENTS = 1_000
const OWN_BYTES = 8 * 1024 * 1024
const POLL_MS = 1_000
/** Below every position there can be: who put an event before the first one must not find it unread. */
const BEGINNING = -(2n ** 63n)

const DDL = `
CREATE SCHEMA IF NOT EXISTS log;
CREATE TABLE IF NOT EXISTS log.events (
  position bigint PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  id uuid NOT NULL,
  type text NOT NULL,
  data json NOT NULL,
  metadata json NOT NULL,
  appended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (stream, revision)
);
CREATE TABLE IF NOT EXISTS log.head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  position bigint NOT NULL
);
INSERT INTO log.head (position) VALUES (0) ON CONFLICT DO NOTHING;
${APPEND_DDL}`

const COLUMNS = 'position, stream, revision, id, type, data, metadata'

type Row = [string, string, string, string, string, JsonObject, JsonObject]
const toRecord = ([position, stream, revision, id, type, data, metadata]: Row): LogRecord => ({
  position: BigInt(position),
  stream,
  revision: Number(revision),
  id,
  type,
  data,
  metadata,
})

type Waiting = Append & {
  records: NewRecord[]
  bytes: number
  deadline: number
  alone: boolean
  settle: (result: AppendResult) => void
  fail: (error: Error) => void
}

/**
 * The log in PostgreSQL: the embedded default, and a choice for one machine. Makes its schema where it is missing, but for
 * who only looks.
 */
export const openPostgresLog = async ({
  url,
  timeoutMs = 5_000,
  onTrouble = () => {},
  makesSchema = true,
}: {url: string; makesSchema?: boolean} & LogOptions): Promise<EventLog> => {
  const pool = new Pool({
    connectionString: url,
    application_name: 'community log reader',
    max: 4,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    keepAlive: true,
    onConnect: (client) => client.query(INDEXED) as never,
  })
  // A connection that is being ended may be cut by the database's own stop: no news to anybody.
  pool.on('error', (error) => {
    if (!pool.ending) onTrouble('a reading connection was lost', error)
  })

  const query = async <R>(text: string, values: unknown[], name?: string): Promise<R[]> => {
    try {
      const {rows} = await pool.query({text, values, rowMode: 'array', ...(name ? {name} : {})})
      return rows as R[]
    } catch (error) {
      throw new LogUnavailable('the log could not be read', {cause: error})
    }
  }

  if (makesSchema) {
    await makeSchema(pool).catch(async (error) => {
      await pool.end()
      throw error
    })
  }

  // --- what is known of the head, and the events of this process

  const wake = wakeable()
  let known = 0n
  let connections = 0
  const own = new Map<bigint, {record: LogRecord; bytes: number}>()
  let ownBytes = 0

  const learn = (head: bigint) => {
    if (head <= known) return
    known = head
    wake.all()
  }

  const keep = (append: Waiting, last: {revision: number; position: bigint}) => {
    const {records} = append
    const first = last.position - BigInt(records.length - 1)
    const firstRevision = last.revision - records.length + 1
    const bytes = Math.ceil(append.bytes / records.length)
    records.forEach((record, index) => {
      const position = first + BigInt(index)
      if (position <= known && own.has(position)) return
      own.set(position, {record: {...record, stream: append.stream, revision: firstRevision + index, position}, bytes})
      ownBytes += bytes
    })
    for (const [position, {bytes}] of own) {
      if (own.size <= OWN_EVENTS && ownBytes <= OWN_BYTES) break
      own.delete(position)
      ownBytes -= bytes
    }
    learn(last.position)
  }

  const ownAfter = (after: bigint): LogRecord[] => {
    const records: LogRecord[] = []
    for (let entry = own.get(after + 1n); entry; entry = own.get(after + 1n)) {
      records.push(entry.record)
      after = entry.record.position
      if (records.length === PAGE_EVENTS) break
    }
    return records
  }

  const late = () => new LogUnavailable('the log did not answer in time')

  // --- appending: one statement in flight; what waits meanwhile joins the next

  const writer = reconnecting(url, 'community log writer', (client) =>
    client.query(
      `SET synchronous_commit = on; ${APPEND_SETTINGS}; SET statement_timeout = ${timeoutMs}; SET lock_timeout = ${timeoutMs}`,
    ),
  )
  let queue: Waiting[] = []
  let writing = false
  let closed = false

  const take = (): Waiting[] => {
    const first = queue[0]!
    const batch = [first]
    const streams = new Set([first.stream])
    let {bytes} = first
    if (!first.alone) {
      for (const append of queue.slice(1)) {
        if (batch.length === BATCH_APPENDS || bytes + append.bytes > BATCH_BYTES) break
        // Never past one that must wait: appends are stored in the order in which they were made.
        if (append.alone || streams.has(append.stream)) break
        batch.push(append)
        streams.add(append.stream)
        bytes += append.bytes
      }
    }
    queue = queue.slice(batch.length)
    return batch
  }

  const write = async (batch: Waiting[]): Promise<void> => {
    const client = await writer.client()
    const left = Math.max(1, Math.max(...batch.map(({deadline}) => deadline)) - performance.now())
    const verdicts = await within(left, appendBatch(client, batch), late)
    batch.forEach((append, index) => {
      const stored = verdicts[index]
      if (stored) {
        keep(append, stored)
        untold = stored.position
      }
      append.settle(stored ? {ok: true, ...stored} : {ok: false, reason: 'conflict'})
    })
    void setImmediate().then(tell)
  }

  const writeAll = async (): Promise<void> => {
    if (writing) return
    writing = true
    let pauseMs = 20
    while (queue.length > 0) {
      // Lets every append of this turn of the event loop join the statement.
      await setImmediate()
      const batch = take()
      try {
        await write(batch)
        pauseMs = 20
      } catch (error) {
        onTrouble('an append failed', error)
        if (!isStatementError(error)) writer.drop()
        const now = performance.now()
        const again = batch.filter((append) => append.deadline > now && !closed)
        for (const append of batch) {
          if (!again.includes(append))
            append.fail(new LogUnavailable('the log did not take the append in time', {cause: error}))
          append.alone = true
        }
        queue = [...again, ...queue]
        if (batch.length === 1) {
          await pause(pauseMs)
          pauseMs = Math.min(pauseMs * 2, 500)
        }
      }
    }
    writing = false
  }

  // --- listening: others' appends come by NOTIFY, with a poll behind it

  const listener = reconnecting(
    url,
    'community log listener',
    async (client) => {
      client.on('notification', ({payload}) => learn(BigInt(payload ?? '0')))
      await client.query('LISTEN log')
      connections++
      wake.all()
    },
    () => wake.all(),
  )

  const ask = <R extends QueryResultRow>(text: string, values: unknown[] = []): Promise<QueryResult<R>> =>
    listener.ask(timeoutMs, (client) => client.query<R>({name: text, text, values}), late)

  /**
   * Others are told after the appends were answered, as a notice wakes whoever listens to anything before its own statement
   * is answered; and by the connection that listens, which it need not wake. Who is not told polls.
   */
  let untold: bigint | null = null
  let telling: Promise<void> | null = null
  const tell = () => {
    telling ??= tellNewest().finally(() => {
      telling = null
    })
  }
  const tellNewest = async () => {
    while (untold !== null) {
      const newest = untold.toString()
      untold = null
      await ask(`SELECT pg_notify('log', $1)`, [newest]).catch(() => {})
    }
  }

  let watching = false
  const watch = async () => {
    watching = true
    while (!closed) {
      try {
        // What was known before it was asked for: an append may be answered in between.
        const before = known
        const {rows} = await ask<{position: string}>('SELECT position FROM log.head')
        const head = BigInt(rows[0]?.position ?? '0')
        if (head < before) {
          known = head
          connections++
          wake.all()
        }
        learn(head)
      } catch (error) {
        if (!closed) onTrouble('the connection that listens for events was lost', error)
      }
      await pause(POLL_MS, undefined, {ref: false})
    }
  }

  const page = async (after: bigint, limit: number): Promise<LogRecord[]> => {
    const rows = await query<Row>(
      `SELECT ${COLUMNS} FROM (
         SELECT ${COLUMNS}, sum(octet_length(data::text)) OVER (ORDER BY position) - octet_length(data::text) AS before
         FROM log.events WHERE position > $1 ORDER BY position LIMIT $2
       ) p WHERE before < ${PAGE_BYTES} ORDER BY position`,
      [after.toString(), limit],
      'log page',
    )
    return rows.map(toRecord)
  }

  const log: EventLog = {
    adapter: 'postgres',

    append: (stream, records, expected) => {
      if (records.length === 0) return Promise.reject(new RangeError('an append needs an event'))
      let bytes = 0
      const written = records.map(({id, type, ...parts}) => {
        const [data, metadata] = [JSON.stringify(parts.data), JSON.stringify(parts.metadata)]
        bytes += Buffer.byteLength(data) + Buffer.byteLength(metadata)
        return {id, type, data, metadata}
      })
      if (bytes > MAX_EVENT_BYTES) return Promise.resolve({ok: false, reason: 'tooLarge'})
      if (closed) return Promise.reject(new LogUnavailable('the log is closed'))
      return new Promise((settle, fail) => {
        const deadline = performance.now() + timeoutMs
        queue.push({stream, expected, events: written, records, bytes, deadline, alone: false, settle, fail})
        void writeAll()
      })
    },

    readStream: async function* (stream, {from, backwards = false, limit = Number.POSITIVE_INFINITY} = {}) {
      let next = from === 'end' || (from === undefined && backwards) ? Number.MAX_SAFE_INTEGER : (from ?? 0)
      let left = limit
      while (left > 0) {
        const size = Math.min(left, PAGE_EVENTS)
        const rows = await query<Row>(
          `SELECT ${COLUMNS} FROM log.events WHERE stream = $1 AND revision ${backwards ? '<=' : '>='} $2
           ORDER BY revision ${backwards ? 'DESC' : 'ASC'} LIMIT $3`,
          [stream, next, size],
          `log stream ${backwards}`,
        )
        for (const row of rows) yield toRecord(row)
        if (rows.length < size) return
        left -= size
        next = Number(rows.at(-1)![2]) + (backwards ? -1 : 1)
        if (next < 0) return
      }
    },

    readAll: async function* ({after = null, limit = Number.POSITIVE_INFINITY} = {}) {
      let from = after ?? BEGINNING
      let left = limit
      while (left > 0) {
        const records = await page(from, Math.min(left, PAGE_EVENTS))
        if (records.length === 0) return
        yield records
        left -= records.length
        from = records.at(-1)!.position
      }
    },

    subscribe: async function* ({after, signal}) {
      let last = after ?? BEGINNING
      let lastId: string | null | undefined
      let checked = connections
      let pauseMs = 50
      signal.addEventListener('abort', wake.all, {once: true})
      if (!watching) void watch()
      while (!signal.aborted && !closed) {
        const woken = wake.next()
        try {
          const connection = connections
          if (lastId === undefined || checked !== connection) {
            const id = (await log.readAt(last))?.id ?? null
            if (lastId === undefined ? id === null && after !== null : id !== lastId)
              throw new HistoryChanged(`another event is at ${last}`)
            if (lastId === undefined) learn((await log.head()) ?? 0n)
            lastId = id
            checked = connection
          }
          let records = ownAfter(last)
          if (records.length === 0 && known > last) records = await page(last, PAGE_EVENTS)
          pauseMs = 50
          if (signal.aborted) return
          const end = records.at(-1)
          if (end) {
            yield records
            last = end.position
            lastId = end.id
          } else await woken
        } catch (error) {
          if (error instanceof HistoryChanged) throw error
          onTrouble('the subscription was interrupted', error)
          await pause(pauseMs)
          pauseMs = Math.min(pauseMs * 2, 1_000)
        }
      }
    },

    readAt: async (position) => {
      const rows = await query<Row>(`SELECT ${COLUMNS} FROM log.events WHERE position = $1`, [position.toString()])
      return rows[0] ? toRecord(rows[0]) : null
    },

    head: async () => {
      const [row] = await query<[string]>('SELECT position FROM log.head', [])
      const head = BigInt(row?.[0] ?? '0')
      return head === 0n ? null : head
    },

    close: async () => {
      closed = true
      wake.all()
      tell()
      await Promise.race([telling, pause(1_000, undefined, {ref: false})])
      await Promise.all([writer.close(), listener.close(), pool.end()])
    },
  }
  return log
}

const makeSchema = async (pool: Pool): Promise<void> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query(`SELECT pg_advisory_xact_lock(hashtext('community log schema'))`)
    await client.query(DDL)
    await client.query('COMMIT')
    client.release()
  } catch (error) {
    client.release(true)
    throw error
  }
}

/** The statement was refused and rolled back, and the connection is well: SQLSTATE outside connection and shutdown classes. */
const isStatementError = (error: unknown): boolean => {
  const code = (error as {code?: unknown}).code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^(08|57|58|XX)/.test(code)
}
