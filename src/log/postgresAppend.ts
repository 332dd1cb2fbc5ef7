import type {Client} from 'pg'
import type {ExpectedRevision} from './eventLog.ts'

/** One append as it waits for its statement: data and metadata are JSON. */
export type Append = {
  stream: string
  expected: ExpectedRevision
  events: readonly {id: string; type: string; data: string; metadata: string}[]
}
/** The revision and position of an append's last event; null for a conflict. */
export type Verdict = {revision: number; position: bigint} | null

/**
 * `log.head` is the lock and the counter: whoever appends holds its row until the commit, so positions are dense and
 * become visible in their order (a sequence would let a reader overtake a slower commit and skip its event).
 * `log.append` is one statement, so the lock never waits for a network. It takes
 * `[{s: stream, r: expected revision or -1, e: [{i, t, d, m}]}]`, at most one append a stream, and answers each with its
 * last revision and position, or with nulls for a conflict. It tells other nodes by itself, as those of an older version
 * append by it alone.
 */
export const APPEND_DDL = `
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

/**
 * What is planned while the log is small must not read all of it once it is large. Up to PostgreSQL 17 a plan that has no
 * index to take, as for `log.head`, seems so dear then that it would be compiled each time.
 */
export const INDEXED = 'SET enable_seqscan = off; SET jit = off'

/** For whoever appends: a plan is made once, and must not rest on how few events there were then. */
export const APPEND_SETTINGS = `SET plan_cache_mode = force_generic_plan; ${INDEXED}`

const APPEND_ONE = `
WITH top AS (
  UPDATE log.head SET position = position + 1
  WHERE $7::uuid IS NULL OR (
    SELECT e.id <> $7::uuid FROM log.events e WHERE e.stream = $1 AND e.revision = $2::bigint - 1
  )
  RETURNING position
)
INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
SELECT position, $1, $2::bigint, $3, $4, $5, $6 FROM top
RETURNING position`

/** The same for several events, an array a column; one alone takes a fifth longer by it. */
const APPEND_ALL = `
WITH new AS (
  SELECT * FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::json[], $6::json[], $7::uuid[])
    WITH ORDINALITY AS n(stream, revision, id, type, data, metadata, last_id, n)
), top AS (
  UPDATE log.head SET position = position + cardinality($3::uuid[])
  WHERE NOT EXISTS (
    SELECT FROM new n WHERE n.last_id IS NOT NULL AND (
      SELECT e.id <> n.last_id FROM log.events e WHERE e.stream = n.stream AND e.revision = n.revision - 1
    ) IS NOT TRUE
  )
  RETURNING position - cardinality($3::uuid[]) AS before
)
INSERT INTO log.events (position, stream, revision, id, type, data, metadata)
SELECT before + n, stream, revision, id, type, data, metadata FROM top, new
RETURNING position`

/**
 * What nearly every append needs, at half the time of `log.append`: stores all of the batch and gives each event's position,
 * or stores nothing where an append may be a conflict or a repeat. The last parameter stands on the first event of an
 * append to a stream that exists: the id of the append's last event, which must not be there already. That nobody has been
 * quicker is the unique key's to say.
 */
export const appendStatement = (batch: readonly Append[]): {name: string; text: string; values: unknown[]} => {
  const rows = batch.flatMap(({stream, expected, events}) =>
    events.map(({id, type, data, metadata}, index): unknown[] => {
      const lastId = index === 0 && expected !== 'none' ? events.at(-1)!.id : null
      return [stream, revisionOf(expected) + 1 + index, id, type, data, metadata, lastId]
    }),
  )
  const [first] = rows
  if (rows.length === 1) return {name: 'log append one', text: APPEND_ONE, values: first!}
  return {name: 'log append all', text: APPEND_ALL, values: first!.map((_, column) => rows.map((row) => row[column]))}
}

const revisionOf = (expected: ExpectedRevision): number => (expected === 'none' ? -1 : expected)

/** At most one append a stream. */
export const appendBatch = async (client: Client, batch: readonly Append[]): Promise<Verdict[]> => {
  try {
    const {rows} = await client.query<[string]>({...appendStatement(batch), rowMode: 'array'} as never)
    if (rows.length > 0) {
      let stored = 0
      return batch.map(({expected, events}) => {
        stored += events.length
        const [position] = rows[stored - 1]!
        return {revision: revisionOf(expected) + events.length, position: BigInt(position)}
      })
    }
  } catch (error) {
    if ((error as {code?: unknown}).code !== UNIQUE_VIOLATION) throw error
  }
  return judgeBatch(client, batch)
}

const UNIQUE_VIOLATION = '23505'

/** Each append of the batch for itself: stored, a repeat, or a conflict. */
const judgeBatch = async (client: Client, batch: readonly Append[]): Promise<Verdict[]> => {
  const appends = batch.map(({stream, expected, events}) => {
    const items = events.map(
      ({id, type, data, metadata}) =>
        `{"i":${JSON.stringify(id)},"t":${JSON.stringify(type)},"d":${data},"m":${metadata}}`,
    )
    return `{"s":${JSON.stringify(stream)},"r":${revisionOf(expected)},"e":[${items.join(',')}]}`
  })
  const {rows} = await client.query<[string, string, string]>({
    name: 'log append',
    text: 'SELECT n, revision, position FROM log.append($1)',
    values: [`[${appends.join(',')}]`],
    rowMode: 'array',
  } as never)
  const verdicts: Verdict[] = batch.map(() => null)
  for (const [n, revision, position] of rows) {
    verdicts[Number(n) - 1] = {revision: Number(revision), position: BigInt(position)}
  }
  return verdicts
}
