import {createServer, type RequestListener, type Server} from 'node:http'
import {refuseMalformed} from './refuse.ts'

/** Node's server, told to leave to us what it would answer without a sentence and a code. */
export const openServer = (handle: RequestListener): Server => {
  const server = createServer(
    {
      requireHostHeader: false,
      // Who offers another protocol elsewhere (curl --http2 does) is answered in this one.
      shouldUpgradeCallback: ({url = ''}) => /^\/socket\.io(?![^/?])/.test(url),
    },
    handle,
  )
  // An upload of 10 MiB over a slow line takes minutes.
  server.requestTimeout = 300_000
  server.on('checkExpectation', handle)
  server.on('clientError', refuseMalformed)
  return server
}
