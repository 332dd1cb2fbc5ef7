import {once} from 'node:events'
import {type AddressInfo, connect, createServer, type Socket} from 'node:net'

/** A way to a TCP server on 127.0.0.1 that can be cut, stalled, slowed, half-closed or shut. */
export type TcpProxy = {
  port: number
  /** Resets every connection; new ones are taken. */
  cut(): void
  /** While stalled no byte passes in either direction, and connections stay. */
  stall(): void
  /** Every byte arrives so much later, in either direction, until `resume`. */
  delay(ms: number): void
  /**
   * Ends every connection towards one side only. The other side is told nothing, ever: its connection stays open, and
   * what it sends goes nowhere. New connections are taken.
   */
  halfClose(towards: 'client' | 'server'): void
  resume(): void
  /** Resets every connection and takes no new one, until `resume`. */
  shut(): void
  connections(): number
  close(): Promise<void>
}

/** `isSilent`: one side was told that it is over, the other was not. */
type Pair = {near: Socket; far: Socket; isSilent: boolean}

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
    const pair: Pair = {near, far, isSilent: false}
    pairs.add(pair)
    for (const [from, onto] of [[near, far] as const, [far, near] as const]) {
      let dueAt = 0
      const pass = (bytes: Buffer) => {
        if (!pair.isSilent && !onto.destroyed && !onto.write(bytes)) from.pause()
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
    stall: () => {
      stalled = true
      for (const {near, far} of pairs) for (const socket of [near, far]) socket.pause()
    },
    delay: (ms) => {
      delayMs = ms
    },
    halfClose: (towards) => {
      for (const pair of pairs) {
        pair.isSilent = true
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
