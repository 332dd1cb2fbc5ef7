import type {Socket} from 'socket.io'

/**
 * What may wait for a socket that reads more slowly than it is sent to; past either bound it is dropped and can resume
 * by `since`. As much again may lie in its transport, which takes what waits in one go.
 */
const MAX_PACKETS = 5_000
const MAX_CHARACTERS = 8 * 1024 * 1024
/** A replay writes no further ahead of its reader. */
const REPLAY_PACKETS = 200

// Engine.IO's own list of packets that its transport has not taken yet; private in its types only.
const waitingFor = ({conn}: Socket): {data?: unknown}[] =>
  (conn as unknown as {writeBuffer: {data?: unknown}[]}).writeBuffer

export const isTooSlow = (socket: Socket): boolean => {
  const packets = waitingFor(socket)
  if (packets.length > MAX_PACKETS) return true
  let characters = 0
  for (const {data} of packets) characters += typeof data === 'string' ? data.length : 0
  return characters > MAX_CHARACTERS
}

/** Waits until a replay may go on. A reader that has stopped misses its ping, which closes the connection and ends this. */
export const caughtUp = async (socket: Socket): Promise<void> => {
  const {conn} = socket
  while (conn.readyState === 'open' && waitingFor(socket).length > REPLAY_PACKETS) {
    await new Promise<void>((resolve) => {
      const done = () => {
        conn.off('drain', done)
        conn.off('close', done)
        resolve()
      }
      conn.on('drain', done)
      conn.on('close', done)
    })
  }
}

/** Whether all that was sent has been handed to the transport. */
export const isFlushed = (socket: Socket): boolean => waitingFor(socket).length === 0
