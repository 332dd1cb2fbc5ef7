import {setTimeout as pause} from 'node:timers/promises'
import {Client} from 'pg'

export type Connection = {
  /** The connected client; connects where there is none, and throws what the attempt threw. */
  client(): Promise<Client>
  /**
   * For several who share the client: each statement waits for the one before, as a client is not given one while it has
   * another. Where one fails or takes longer, which rejects with `late`, the client is dropped.
   */
  ask<T>(ms: number, statement: (client: Client) => Promise<T>, late: () => Error): Promise<T>
  /** Drops a client whose state is in doubt. What it still had to answer is rejected. */
  drop(): void
  close(): Promise<void>
}

/** A server that falls silent before a connection is ready must not leave everybody waiting for it. */
const PREPARE_MS = 5_000

/** One connection that is opened when it is first wanted, and opened again after it was lost. `prepare` runs on each new one. */
export const reconnecting = (
  connectionString: string,
  applicationName: string,
  prepare: (client: Client) => Promise<unknown> = async () => {},
  onLost: () => void = () => {},
): Connection => {
  let current: Promise<Client> | null = null
  let raw: Client | null = null
  let closed = false

  const forget = (client: Client) => {
    if (raw !== client) return
    raw = null
    current = null
    onLost()
  }

  const open = async (): Promise<Client> => {
    const client = new Client({
      connectionString,
      application_name: applicationName,
      connectionTimeoutMillis: 3_000,
      keepAlive: true,
    })
    raw = client
    client.on('error', () => forget(client))
    client.on('end', () => forget(client))
    try {
      await client.connect()
      await within(PREPARE_MS, prepare(client), () => new Error('the database did not answer in time'))
      return client
    } catch (error) {
      if (raw === client) {
        raw = null
        current = null
      }
      void client.end().catch(() => {})
      throw error
    }
  }

  const connected = (): Promise<Client> => {
    if (closed) return Promise.reject(new Error('the connection is closed'))
    current ??= open()
    return current
  }

  const drop = () => {
    const client = raw
    if (!client) return
    forget(client)
    destroy(client)
  }

  let asking: Promise<unknown> = Promise.resolve()
  return {
    client: connected,
    ask: (ms, statement, late) => {
      const asked = asking.then(async () => within(ms, statement(await connected()), late))
      asking = asked.catch(drop)
      return asked
    },
    drop,
    close: async () => {
      closed = true
      const client = raw
      raw = null
      current = null
      if (client)
        await Promise.race([
          client.end().catch(() => {}),
          pause(1_000, undefined, {ref: false}).then(() => destroy(client)),
        ])
    },
  }
}

/** Ends the socket without asking the server, which may no longer answer. */
const destroy = (client: Client) => {
  const {connection} = client as unknown as {connection: {stream: {destroy(): void}}}
  connection.stream.destroy()
}

/** Rejects with the error where `work` takes longer; `work` itself goes on, so the caller drops its connection. */
export const within = async <T>(ms: number, work: Promise<T>, error: () => Error): Promise<T> => {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(error()), ms)
  work.catch(() => {})
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
