import {once} from 'node:events'
import {type AddressInfo, connect, createServer, type Socket} from 'node:net'

/** A way to a TCP server on 127.0.0.1 that can be cut, stalled or shut. */
export type TcpProxy = {
  port: number
  /** Resets every connection; new ones are taken. */
  cut(): void
  /** While stalled no byte passes in either direction, and connections stay. */
  stall(): void
  resume(): void
  /** Resets every connection and takes no new one, until `resume`. */
  shut(): void
  connections(): number
  close(): Promise<void>
}

/** `to`: a port on 127.0.0.1, or the path of a Unix socket. */
export const startTcpProxy = async (to: number | string): Promise<TcpProxy> => {
  const pairs = new Set<[Socket, Socket]>()
  let stalled = false
  let refusing = false

  const server = createServer((near) => {
    if (refusing) {
      near.resetAndDestroy()
      return
    }
    const far = typeof to === 'string' ? connect(to) : connect({port: to, host: '127.0.0.1', noDelay: true})
    near.setNoDelay(true)
    const pair: [Socket, Socket] = [near, far]
    pairs.add(pair)
    for (const [from, onto] of [pair, [far, near] as const]) {
      from.on('data', (bytes) => {
        if (!onto.write(bytes)) from.pause()
      })
      onto.on('drain', () => {
        if (!stalled) from.resume()
      })
      from.on('error', () => {})
      from.on('close', () => {
        pairs.delete(pair)
        onto.destroy()
      })
      if (stalled) from.pause()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const cut = () => {
    for (const [near, far] of pairs) {
      near.resetAndDestroy()
      // A Unix socket knows no reset.
      if (typeof to === 'string') far.destroy()
      else far.resetAndDestroy()
    }
  }
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    stall: () => {
      stalled = true
      for (const sockets of pairs) for (const socket of sockets) socket.pause()
    },
    resume: () => {
      stalled = false
      refusing = false
      for (const sockets of pairs) for (const socket of sockets) socket.resume()
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
