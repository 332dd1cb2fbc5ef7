import {randomBytes} from 'node:crypto'
import {onTestFinished} from 'vitest'
import type {EventLog} from '../../src/log/eventLog.ts'
import {openPostgresLog} from '../../src/log/postgresLog.ts'
import {createDatabase} from './database.ts'
import type {Adapter} from './place.ts'

/** A log that holds no event, not even its identity; closed when the test is over. */
export const openEmptyLog = async (adapter: Adapter): Promise<EventLog> => {
  const log = await open(adapter)
  onTestFinished(() => log.close())
  return log
}

const open = async (adapter: Adapter): Promise<EventLog> => {
  if (adapter === 'postgres') return openPostgresLog({url: await createDatabase()})
  const {openEventStoreDbLog} = await import('../../src/log/eventStoreDbLog.ts')
  return openEventStoreDbLog({url: process.env.EVENTSTORE_URL!, prefix: `t${randomBytes(6).toString('hex')}.`})
}
