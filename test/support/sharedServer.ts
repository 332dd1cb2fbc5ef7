import {beforeAll} from 'vitest'
import {startServer, type TestServer} from './server.ts'

/** One server for the tests of a file that do not get in each other's way. */
export const sharedServer = (env: NodeJS.ProcessEnv = {}): (() => TestServer) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer(env, {shared: true})
    return () => server.stop()
  })
  return () => server
}
