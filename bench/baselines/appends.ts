import {randomUUID} from 'node:crypto'
import {Pool} from 'pg'
import {APPEND_SETTINGS, appendStatement} from '../../src/log/postgresAppend.ts'
import {openPostgresLog} from '../../src/log/postgresLog.ts'

/**
 * So many writers, each one event at a time to a stream of its own: by the log; by the log's own statement, once for each,
 * on connections of their own; by a bare INSERT. Says how many a second.
 */
const {mode, url, writers, seconds} = JSON.parse(process.argv[2]!) as {
  mode: 'log' | 'locked' | 'bare'
  url: string
  writers: number
  seconds: number
}

const event = () => ({id: randomUUID(), type: 'Measured', data: {text: 'x'.repeat(150)}, metadata: {time: 'now'}})
const log = await openPostgresLog({url})
const pool = new Pool({connectionString: url, max: writers})
pool.on('connect', (client) => client.query(APPEND_SETTINGS))
if (mode === 'bare') {
  await pool.query(
    'CREATE TABLE IF NOT EXISTS public.bare_events (position bigserial PRIMARY KEY, stream text, revision bigint, id uuid, type text, data json, metadata json, UNIQUE (stream, revision))',
  )
}
const streams = Array.from({length: writers}, () => ({name: `measured-${randomUUID()}`, revision: -1}))

const appendTo = {
  log: async (stream: {name: string; revision: number}) => {
    const result = await log.append(stream.name, [event()], stream.revision === -1 ? 'none' : stream.revision)
    if (!result.ok) throw new Error(result.reason)
  },
  locked: async ({name, revision}: {name: string; revision: number}) => {
    const {data, metadata, ...rest} = event()
    const written = {...rest, data: JSON.stringify(data), metadata: JSON.stringify(metadata)}
    const expected = revision === -1 ? 'none' : revision
    const {rowCount} = await pool.query(appendStatement([{stream: name, expected, events: [written]}]))
    if (rowCount !== 1) throw new Error('conflict')
  },
  bare: async ({name, revision}: {name: string; revision: number}) => {
    const {id, type, data, metadata} = event()
    await pool.query({
      name: 'insert',
      text: 'INSERT INTO public.bare_events (stream, revision, id, type, data, metadata) VALUES ($1, $2, $3, $4, $5, $6)',
      values: [name, revision + 1, id, type, data, metadata],
    })
  },
}[mode]

/** Appends until the time is over; what is under way then counts. */
const run = async (ms: number): Promise<number> => {
  const began = performance.now()
  let count = 0
  await Promise.all(
    streams.map(async (stream) => {
      while (performance.now() - began < ms) {
        await appendTo(stream)
        stream.revision++
        count++
      }
    }),
  )
  return (count * 1_000) / (performance.now() - began)
}
await run(seconds * 200)
const perSecond = await run(seconds * 1_000)
process.stdout.write(JSON.stringify({perSecond}))
await Promise.all([log.close(), pool.end()])
