import {readConfig} from '../../src/config.ts'
import {openLog} from '../../src/foundation.ts'
import type {LogRecord} from '../../src/log/eventLog.ts'
import type {TestServer} from './server.ts'

/** What the log of a server holds, as it is stored; of one stream where one is named. */
export const storedEvents = async ({env, databaseUrl}: TestServer, stream?: string): Promise<LogRecord[]> => {
  const log = await openLog(readConfig(env), databaseUrl, () => {})
  try {
    const records: LogRecord[] = []
    if (stream !== undefined) for await (const record of log.readStream(stream)) records.push(record)
    else for await (const page of log.readAll()) records.push(...page)
    return records
  } finally {
    await log.close()
  }
}
