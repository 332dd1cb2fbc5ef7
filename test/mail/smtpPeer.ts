import {once} from 'node:events'
import type {AddressInfo} from 'node:net'
import {text} from 'node:stream/consumers'
import {SMTPServer} from 'smtp-server'

type Received = {from: string; to: string[]; message: string; is8Bit: boolean}

/**
 * A mail server on a free port that keeps what it takes. `refuse` is asked for each mail: an SMTP code, or 0. `lets`: it
 * asks who one is, and lets this password in.
 */
export const smtpPeer = async ({
  port = 0,
  refuse = () => 0,
  lets = null,
}: {
  port?: number
  refuse?: () => number
  lets?: string | null
} = {}) => {
  const received: Received[] = []
  const server = new SMTPServer({
    disabledCommands: lets === null ? ['AUTH', 'STARTTLS'] : ['STARTTLS'],
    allowInsecureAuth: true,
    onAuth: ({username, password}, _session, callback) =>
      password === lets ? callback(null, {user: username}) : callback(new Error('who is that?')),
    disableReverseLookup: true,
    onRcptTo: ({address}, _session, callback) => {
      const code = refuse()
      callback(code ? Object.assign(new Error(`no mail for ${address}`), {responseCode: code}) : null)
    },
    onData: async (stream, {envelope}, callback) => {
      const message = await text(stream)
      received.push({
        from: envelope.mailFrom ? envelope.mailFrom.address : '',
        is8Bit: envelope.mailFrom ? Object(envelope.mailFrom.args).BODY === '8BITMIME' : false,
        to: envelope.rcptTo.map(({address}) => address),
        message,
      })
      callback()
    },
  })
  server.on('error', () => {})
  server.listen(port, '127.0.0.1')
  await once(server.server, 'listening')
  const address = server.server.address() as AddressInfo
  return {
    received,
    port: address.port,
    url: `smtp://127.0.0.1:${address.port}`,
    stop: () => new Promise<void>((resolve) => server.close(resolve)),
  }
}
