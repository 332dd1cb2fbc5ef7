import {randomUUID} from 'node:crypto'
import {Client} from 'pg'
import {describe, expect, inject, it} from 'vitest'
import {HistoryChanged, type LogRecord} from '../../src/log/eventLog.ts'
import {openPostgresLog} from '../../src/log/postgresLog.ts'
import {createDatabase} from '../support/database.ts'
import {describeEventLog} from './eventLog.ts'

describeEventLog('postgresLog', async () => {
  const url = await createDatabase()
  const admin = new Client({connectionString: inject('postgresUrl')})
  await admin.connect()
  const name = /\/([^/?]*)(\?|$)/.exec(url)![1]
  const log = await openPostgresLog({url})
  return {
    log,
    again: () => openPostgresLog({url}),
    cut: async () => {
      await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name])
    },
    // A log in Postgres has a schema of its own: no other program is in it.
    foreign: async () => {},
    close: async () => {
      await log.close()
      await admin.query(`DROP DATABASE ${name} WITH (FORCE)`)
      await admin.end()
    },
  }
})

describe('a log whose newest events are taken away under those who follow it', () => {
  it('is another history to them at once, and not only when more is written', async () => {
    const url = await createDatabase()
    const log = await openPostgresLog({url})
    const other = await openPostgresLog({url})
    const admin = new Client({connectionString: url})
    await admin.connect()
    const event = () => ({id: randomUUID(), type: 'Happened', data: {}, metadata: {}})
    await log.append('a', [event(), event(), event()], 'none')
    const seen: LogRecord[] = []
    const follow = async () => {
      for await (const page of log.subscribe({after: null, signal: new AbortController().signal})) {
        seen.push(...page)
        // What comes live shows that it listens.
        if (seen.length === 3) setTimeout(() => other.append('b', [event()], 'none'), 100)
        if (seen.length === 4)
          await admin.query('DELETE FROM log.events WHERE position > 1; UPDATE log.head SET position = 1')
      }
    }
    await expect(follow()).rejects.toThrow(HistoryChanged)
    await admin.end()
    await Promise.all([log.close(), other.close()])
  })
})
