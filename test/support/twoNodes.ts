import {randomBytes} from 'node:crypto'
import {startServer, type TestServer} from './server.ts'

/** Two servers on one database and one log, as two nodes of a deployment are. Both read the mails of both. */
export const startTwoNodes = async (env: NodeJS.ProcessEnv = {}): Promise<[TestServer, TestServer]> => {
  const first = await startServer({MASTER_KEY: randomBytes(32).toString('base64'), ...env})
  const {DATABASE_URL, DATA_DIR, MASTER_KEY, EVENTSTORE_URL, EVENTSTORE_PREFIX} = first.env
  const same = {DATABASE_URL, DATA_DIR, MASTER_KEY, ...(EVENTSTORE_URL ? {EVENTSTORE_URL, EVENTSTORE_PREFIX} : {})}
  return [first, await startServer({...env, ...same})]
}
