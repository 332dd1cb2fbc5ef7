import {WebSocket} from 'ws'

/**
 * A Socket.IO client on the wire, as cheap as can be: it says that it connects, sends events that want an answer, and tells
 * what it is sent without reading more of it than it must. Many of them fit into a process that has little of a core.
 */
export type Wire = {
  ask(event: string, ...args: unknown[]): Promise<string>
  /** Called with each `message`, as it is on the wire. */
  onMessage(heed: (packet: string) => void): void
  close(): void
}

export const openWire = (url: string, cookie: string): Promise<Wire> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`, {
      headers: {cookie},
      perMessageDeflate: false,
      skipUTF8Validation: true,
    })
    const asked = new Map<string, (answer: string) => void>()
    let heed: (packet: string) => void = () => {}
    let asks = 0
    const wire: Wire = {
      ask: (event, ...args) =>
        new Promise((answered) => {
          const id = String(asks++)
          asked.set(id, answered)
          socket.send(`42${id}${JSON.stringify([event, ...args])}`)
        }),
      onMessage: (listener) => {
        heed = listener
      },
      close: () => socket.terminate(),
    }
    socket.on('error', reject)
    socket.on('message', (data) => {
      const packet = data.toString()
      if (packet.startsWith('42["message"')) heed(packet)
      else if (packet.startsWith('43')) {
        const at = packet.indexOf('[')
        const id = packet.slice(2, at)
        asked.get(id)?.(packet.slice(at + 1, -1))
        asked.delete(id)
      } else if (packet === '2') socket.send('3')
      else if (packet.startsWith('0')) socket.send('40')
      else if (packet.startsWith('40')) resolve(wire)
      else if (packet.startsWith('44')) reject(new Error(`a socket was refused: ${packet}`))
    })
  })
