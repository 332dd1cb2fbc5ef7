import {randomUUID} from 'node:crypto'
import {once} from 'node:events'
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
    'looks by an index for what %i appends follow, also where its plan is made in an empty log',
    async (size) => {
      await client.query(APPEND_SETTINGS)
      const written = () => ({...event(), data: '{}', metadata: '{}'})
      const appends = Array.from({length: size}, (_, n) => ({stream: `s-${n}`, expected: 0, events: [written()]}))
      const {text, values} = appendStatement(appends)
      const {rows} = await client.query(`EXPLAIN ${text}`, values)
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
      expect(plan).toContain('Index Scan using events_stream_revision_key on events')
      expect(plan).not.toContain('Seq Scan on events')
    },
  )

  it('tells whoever listens of what was appended, and of the newest only where there is more', async () => {
    await client.query('LISTEN log')
    const heard = once(client, 'notification')
    await log.append('a', [event()], 'none')
    const [{payload}] = await heard
    expect(payload).toBe('1')
    const positions: string[] = []
    client.on('notification', ({payload}) => positions.push(payload!))
    await Promise.all(Array.from({length: 50}, (_, n) => log.append(`b-${n}`, [event()], 'none')))
    await expect.poll(() => positions.at(-1)).toBe('51')
    expect(positions.length).toBeLessThan(50)
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
