import {randomUUID} from 'node:crypto'
import {Client} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import type {EventLog} from '../../src/log/eventLog.ts'
import {APPEND_SETTINGS, appendStatement} from '../../src/log/postgresAppend.ts'
import {openPostgresLog} from '../../src/log/postgresLog.ts'
import {createDatabase} from '../support/database.ts'

describe('appending to the log in PostgreSQL', () => {
  let log: EventLog
  let client: Client

  beforeAll(async () => {
    const url = await createDatabase()
    log = await openPostgresLog({url})
    client = new Client({connectionString: url})
    await client.connect()
  })
  afterAll(async () => {
    await Promise.all([log.close(), client.end()])
  })

  const event = () => ({id: randomUUID(), type: 'Happened', data: {}, metadata: {}})

  it.each([1, 2])(
    'looks by an index for what %i appends follow, also where its plan is made in a small log',
    async (size) => {
      await client.query(APPEND_SETTINGS)
      await log.append(`z-${size}`, [event()], 'none')
      await client.query('VACUUM ANALYZE log.events')
      const written = () => ({...event(), data: '{}', metadata: '{}'})
      const appends = Array.from({length: size}, (_, n) => ({stream: `s-${n}`, expected: 0, events: [written()]}))
      const {text, values} = appendStatement(appends)
      const {rows} = await client.query(`EXPLAIN ${text}`, values)
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
      expect(plan).toContain('Index Scan using events_stream_revision_key on events')
      expect(plan).not.toContain('Seq Scan on events')
    },
  )

  it('tells whoever listens of the newest append, and not of each of many that came at once', async () => {
    const told: string[] = []
    client.on('notification', ({payload}) => told.push(payload!))
    await client.query('LISTEN log')
    await Promise.all(Array.from({length: 50}, (_, n) => log.append(`b-${n}`, [event()], 'none')))
    const head = String(await log.head())
    await expect.poll(() => told.at(-1)).toBe(head)
    expect(told.length).toBeLessThan(50)
  })

  it('stores of appends that share a statement those that conflict with nothing', async () => {
    await log.append('c', [event()], 'none')
    const before = (await log.head())!
    const results = await Promise.all([
      log.append('d', [event(), event()], 'none'),
      log.append('c', [event()], 'none'),
      log.append('c', [event()], 5),
      log.append('e', [event()], 'none'),
    ])
    expect(results.map(({ok}) => ok)).toEqual([true, false, false, true])
    expect(await log.head()).toBe(before + 3n)
  })
})
