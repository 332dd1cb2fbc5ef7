import {Client} from 'pg'
import {inject} from 'vitest'
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
