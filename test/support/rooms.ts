import {expect} from 'vitest'
import {eventually} from './eventually.ts'
import type {Person, TestSocket} from './server.ts'

/** An open room that all of them are in. */
export const roomOf = async (owner: Person, ...others: Person[]): Promise<string> => {
  const {body} = await owner.post('/api/rooms', {name: 'A room', visibility: 'open'})
  for (const other of others) {
    const joined = await other.post(`/api/rooms/${body.room.id}/join`)
    if (joined.status !== 200) throw new Error(joined.text)
  }
  return body.room.id
}

/** Sends each content at once; gives the answers in the same order. */
export const sendAll = (socket: TestSocket, roomId: string, contents: string[]) =>
  Promise.all(contents.map((content) => socket.ask('send_message', {roomId, content})))

export const numbered = (count: number, name = 'message'): string[] =>
  Array.from({length: count}, (_, index) => `${name} ${index}`)

export const seqsOf = (socket: TestSocket, roomId?: string): number[] =>
  socket
    .messages()
    .filter((message) => roomId === undefined || message.roomId === roomId)
    .map(({seq}) => seq)

export const range = (from: number, to: number): number[] => Array.from({length: to - from}, (_, index) => from + index)

/** Waits until the socket has seen `to - 1`, then wants each seq from `from` on, once and in order. */
export const expectSeqs = async (socket: TestSocket, from: number, to: number, ms = 10_000): Promise<void> => {
  await eventually(() => seqsOf(socket).includes(to - 1), {what: `seq ${to - 1}`, ms})
  expect(seqsOf(socket)).toEqual(range(from, to))
}

/** The events of this name that the socket got. */
export const eventsOf = (socket: TestSocket, name: string): unknown[] =>
  socket.received.filter((one) => one.name === name).map(({args}) => args[0])
