import {setTimeout as pause, setImmediate} from 'node:timers/promises'
import {Pool} from 'pg'
import {reconnecting, within} from '../database/reconnect.ts'
import {
  type AppendResult,
  type EventLog,
  type ExpectedRevision,
  HistoryChanged,
  type JsonObject,
  type LogOptions,
  type LogRecord,
  LogUnavailable,
  MAX_EVENT_BYTES,
  type NewRecord,
} from './eventLog.ts'
import {wakeable} from './wakeable.ts'

const PAGE_EVENTS = 512
const PAGE_BYTES = 4 * 1024 * 1024
/** What one statement may append for all that wait: enough to share a commit widely, little enough to answer quickly. */
const BATCH_APPENDS = 256
const BATCH_BYTES = 1024 * 1024
/** Own events that the tail takes from memory instead of reading them back. Past either bound it reads them. */
const OWN_EVENTS = 1_000
const OWN_BYTES = 8 * 1024 * 1024
/** How long the tail waits for the answer to an own append before it reads what others appended. */
const OWN_MS = 20
const POLL_MS = 1_000
/** Below every position there can be: who put an event before the first one must not find it unread. */
const BEGINNING = -(2n ** 63n)

/**
 * `log.head` is the lock and the counter: whoever appends holds its row until the commit, so positions are dense and
 * become visible in their order (a sequence would let a reader overtake a slower commit and skip its event).
 * `log.append` is one statement, so the lock never waits for a network. It takes
 * `[{s: stream, r: expected revision or -1, e: [{i, t, d, m}]}]`, at most one append a stream, and answers each with its
 * last revision and position, or with nulls for a conflict.
 */
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
CREATE OR REPLACE FUNCTION log.append(batch json)
RETURNS TABLE (n bigint, revision bigint, "position" bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE before bigint; after bigint;
BEGIN
  SELECT h.position INTO before FROM log.head h FOR UPDATE;
  RETURN QUERY
  WITH appends AS MATERIALIZED (
    SELECT a.n, a.value->>'s' AS stream, (a.value->>'r')::bigint AS expected, a.value->'e' AS events,
           json_array_length(a.value->'e') AS size
    FROM json_array_elements(batch) WITH ORDINALITY AS a(value, n)
  ), items AS MATERIALIZED (
    SELECT a.n, a.stream, a.expected, e.k, e.i, e.t, e.d, e.m
    FROM appends a, ROWS FROM (json_to_recordset(a.events) AS (i uuid, t text, d json, m json)) WITH ORDINALITY AS e(i, t, d, m, k)
  ), checked AS MATERIALIZED (
    SELECT a.n, a.stream, a.expected, a.size, coalesce(l.revision, -1) AS last, l.position AS last_position,
           l.id IS NOT DISTINCT FROM (a.events->(a.size - 1)->>'i')::uuid AS is_last
    FROM appends a LEFT JOIN LATERAL (
      SELECT e.revision, e.position, e.id FROM log.events e WHERE e.stream = a.stream ORDER BY e.revision DESC LIMIT 1
    ) l ON true
  ), fresh AS MATERIALIZED (
    SELECT c.n, i.stream, c.expected + i.k AS revision, i.i, i.t, i.d, i.m,
           before + row_number() OVER (ORDER BY c.n, i.k) AS position
    FROM checked c JOIN items i ON i.n = c.n WHERE c.last = c.expected AND NOT c.is_last
  ), inserted AS (
    INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
    SELECT f.position, f.stream, f.revision, f.i, f.t, f.d, f.m FROM fresh f
  ), moved AS (
    UPDATE log.head SET position = before + (SELECT count(*) FROM fresh) WHERE EXISTS (SELECT FROM fresh)
  ), repeated AS (
    SELECT c.n, max(e.revision) AS revision, max(e.position) AS position
    FROM checked c JOIN items i ON i.n = c.n
    JOIN log.events e ON e.stream = c.stream AND e.revision = c.expected + i.k AND e.id = i.i
    WHERE c.last > c.expected GROUP BY c.n, c.size HAVING count(*) = c.size
  )
  SELECT f.n, max(f.revision), max(f.position) FROM fresh f GROUP BY f.n
  UNION ALL SELECT c.n, c.last, c.last_position FROM checked c WHERE c.last = c.expected AND c.is_last
  UNION ALL SELECT r.n, r.revision, r.position FROM repeated r;
  SELECT h.position INTO after FROM log.head h;
  IF after > before THEN PERFORM pg_notify('log', after::text); END IF;
END $$;
`

/** What is planned while the log is small must not read all of it once it is large. */
const INDEXED = 'SET enable_seqscan = off'
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

type Waiting = {
  stream: string
  expected: ExpectedRevision
  events: NewRecord[]
  json: string
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
    const first = last.position - BigInt(append.events.length - 1)
    const firstRevision = last.revision - append.events.length + 1
    const bytes = Math.ceil(append.json.length / append.events.length)
    append.events.forEach((event, index) => {
      const position = first + BigInt(index)
      if (position <= known && own.has(position)) return
      own.set(position, {record: {...event, stream: append.stream, revision: firstRevision + index, position}, bytes})
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

  // --- appending: one statement in flight; what waits meanwhile joins the next

  const writer = reconnecting(url, 'community log writer', (client) =>
    client.query(
      `${INDEXED}; SET synchronous_commit = on; SET statement_timeout = ${timeoutMs}; SET lock_timeout = ${timeoutMs}`,
    ),
  )
  let queue: Waiting[] = []
  let writing = false
  let inFlight: Promise<void> | null = null
  let closed = false

  const take = (): Waiting[] => {
    const first = queue[0]!
    const batch = [first]
    const streams = new Set([first.stream])
    let bytes = first.json.length
    if (!first.alone) {
      for (const append of queue.slice(1)) {
        if (batch.length === BATCH_APPENDS || bytes + append.json.length > BATCH_BYTES) break
        // Never past one that must wait: appends are stored in the order in which they were made.
        if (append.alone || streams.has(append.stream)) break
        batch.push(append)
        streams.add(append.stream)
        bytes += append.json.length
      }
    }
    queue = queue.slice(batch.length)
    return batch
  }

  const write = async (batch: Waiting[]): Promise<void> => {
    const client = await writer.client()
    const json = `[${batch.map((append) => append.json).join(',')}]`
    const left = Math.max(1, Math.max(...batch.map(({deadline}) => deadline)) - performance.now())
    const {rows} = await within(
      left,
      client.query<[string, string, string]>({
        name: 'log append',
        text: 'SELECT n, revision, position FROM log.append($1)',
        values: [json],
        rowMode: 'array',
      } as never),
      () => new LogUnavailable('the log did not answer in time'),
    )
    const verdicts = new Map(
      (rows as unknown as [string, string, string][]).map(([n, revision, position]) => [
        Number(n) - 1,
        {revision: Number(revision), position: BigInt(position)},
      ]),
    )
    batch.forEach((append, index) => {
      const stored = verdicts.get(index)
      if (stored) keep(append, stored)
      append.settle(stored ? {ok: true, ...stored} : {ok: false, reason: 'conflict'})
    })
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
        inFlight = write(batch).finally(() => {
          inFlight = null
        })
        await inFlight
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
  let watching = false
  const watch = async () => {
    watching = true
    while (!closed) {
      try {
        const client = await listener.client()
        const {rows} = await within(
          timeoutMs,
          client.query<{position: string}>('SELECT position FROM log.head'),
          () => new LogUnavailable('the log did not answer in time'),
        )
        const head = BigInt(rows[0]?.position ?? '0')
        if (head < known) {
          known = head
          connections++
          wake.all()
        }
        learn(head)
      } catch (error) {
        listener.drop()
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

    append: (stream, events, expected) => {
      if (events.length === 0) return Promise.reject(new RangeError('an append needs an event'))
      let bytes = 0
      const items = events.map(({id, type, data, metadata}) => {
        const d = JSON.stringify(data)
        const m = JSON.stringify(metadata)
        bytes += Buffer.byteLength(d) + Buffer.byteLength(m)
        return `{"i":${JSON.stringify(id)},"t":${JSON.stringify(type)},"d":${d},"m":${m}}`
      })
      if (bytes > MAX_EVENT_BYTES) return Promise.resolve({ok: false, reason: 'tooLarge'})
      if (closed) return Promise.reject(new LogUnavailable('the log is closed'))
      const json = `{"s":${JSON.stringify(stream)},"r":${expected === 'none' ? -1 : expected},"e":[${items.join(',')}]}`
      return new Promise((settle, fail) => {
        const deadline = performance.now() + timeoutMs
        queue.push({stream, expected, events, json, deadline, alone: false, settle, fail})
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
          if (records.length === 0 && known > last && inFlight) {
            // Most likely the notice of an own append, which is sooner here than its answer.
            await Promise.race([inFlight.catch(() => {}), pause(OWN_MS, undefined, {ref: false})])
            records = ownAfter(last)
          }
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
