import {once} from 'node:events'
import {type AddressInfo, connect, createServer, type Socket} from 'node:net'

/** A way to a TCP server on 127.0.0.1 that can be cut, stalled, slowed, half-closed or shut. */
export type TcpProxy = {
  port: number
  /** Resets every connection; new ones are taken. */
  cut(): void
  /** While stalled no byte passes in either direction, and connections stay. `only`: those that began with this text. */
  stall(only?: string): void
  /** Every byte arrives so much later, in either direction, until `resume`. */
  delay(ms: number): void
  /**
   * Ends every connection towards one side. Towards the server, the client is told nothing, ever: its connection stays
   * open, and what it sends goes nowhere. New connections are taken.
   */
  halfClose(towards: 'client' | 'server'): void
  resume(): void
  /** Resets every connection and takes no new one, until `resume`. */
  shut(): void
  connections(): number
  close(): Promise<void>
}

/** `isSilent`: the server was told that it is over, the client was not. */
type Pair = {near: Socket; far: Socket; isSilent: boolean; began: string}

/** `to`: a port on 127.0.0.1, or the path of a Unix socket. */
export const startTcpProxy = async (to: number | string): Promise<TcpProxy> => {
  const pairs = new Set<Pair>()
  let stalled = false
  let refusing = false
  let delayMs = 0

  const server = createServer({allowHalfOpen: true}, (near) => {
    if (refusing) {
      near.resetAndDestroy()
      return
    }
    const target = typeof to === 'string' ? {path: to} : {port: to, host: '127.0.0.1', noDelay: true}
    const far = connect({...target, allowHalfOpen: true})
    near.setNoDelay(true)
    const pair: Pair = {near, far, isSilent: false, began: ''}
    pairs.add(pair)
    near.once('data', (bytes) => {
      pair.began = bytes.toString('latin1')
    })
    for (const [from, onto] of [[near, far] as const, [far, near] as const]) {
      let dueAt = 0
      const pass = (bytes: Buffer) => {
        if (!pair.isSilent && onto.writable && !onto.write(bytes)) from.pause()
      }
      from.on('data', (bytes) => {
        const now = performance.now()
        dueAt = Math.max(dueAt, now + delayMs)
        if (dueAt > now) setTimeout(pass, dueAt - now, bytes)
        else pass(bytes)
      })
      onto.on('drain', () => {
        if (!stalled) from.resume()
      })
      from.on('error', () => {})
      from.on('end', () => {
        if (!pair.isSilent) onto.end()
      })
      from.on('close', () => {
        if (pair.isSilent && !onto.destroyed) return
        pairs.delete(pair)
        onto.destroy()
      })
      if (stalled) from.pause()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const cut = () => {
    for (const {near, far} of pairs) {
      near.resetAndDestroy()
      // A Unix socket knows no reset.
      if (typeof to === 'string') far.destroy()
      else far.resetAndDestroy()
    }
  }
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    stall: (only) => {
      stalled = only === undefined
      for (const {near, far, began} of pairs)
        if (only === undefined || began.includes(only)) for (const socket of [near, far]) socket.pause()
    },
    delay: (ms) => {
      delayMs = ms
    },
    halfClose: (towards) => {
      for (const pair of pairs) {
        pair.isSilent = towards === 'server'
        const told = towards === 'client' ? pair.near : pair.far
        told.end()
      }
    },
    resume: () => {
      stalled = false
      refusing = false
      delayMs = 0
      for (const {near, far} of pairs) for (const socket of [near, far]) socket.resume()
    },
    shut: () => {
      refusing = true
      cut()
    },
    connections: () => pairs.size,
    close: async () => {
      refusing = true
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}

/** The same URL by way of a proxy. The embedded PostgreSQL listens at a Unix socket where there are such. */
export const throughProxy = async (given: string): Promise<{proxy: TcpProxy; url: string}> => {
  // Its URL then names no host.
  const url = new URL(given.replace('@/', '@127.0.0.1/'))
  const folder = url.searchParams.get('host')
  const port = url.searchParams.get('port') ?? url.port
  const proxy = await startTcpProxy(folder === null ? Number(port) : `${folder}/.s.PGSQL.${port}`)
  url.searchParams.delete('host')
  url.searchParams.delete('port')
  url.hostname = '127.0.0.1'
  url.port = String(proxy.port)
  return {proxy, url: url.href}
}
