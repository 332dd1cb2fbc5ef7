import {setTimeout as pause} from 'node:timers/promises'
import {expect, it} from 'vitest'
import {range, roomOf} from '../support/rooms.ts'
import {BOT_TOKEN, connect, signUp} from '../support/server.ts'
import type {ServerProcess} from '../support/serverProcess.ts'
import {isLong} from './load.ts'
import {startNodes} from './nodes.ts'

const SECONDS = isLong ? 10 : 4

it('two nodes share a room that both of them saturate, and refuse nobody', {timeout: 60_000}, async () => {
  const [one, two] = (await startNodes(2)).map(({server}) => server) as [ServerProcess, ServerProcess]
  const roomId = await roomOf(await signUp(one))
  const over = new AbortController()
  const writersAt = async (
    node: ServerProcess,
  ): Promise<{done: Promise<void>; count(): number; refusals: object[]}> => {
    const refusals: object[] = []
    let count = 0
    const sockets = await Promise.all(
      range(0, 4).map((index) =>
        connect(node, {auth: {botToken: BOT_TOKEN, botId: `writer-${index}`}, transports: ['websocket']}),
      ),
    )
    await sockets[0]!.ask('join_room', roomId)
    for (const socket of sockets) await socket.ask('send_message', {roomId, content: 'here'})
    const done = async () => {
      const write = async (socket: (typeof sockets)[number]) => {
        while (!over.signal.aborted) {
          const answer = await socket.ask('send_message', {roomId, content: 'a busy room'})
          if (answer.ok) count++
          else refusals.push(answer)
        }
      }
      await Promise.all(sockets.flatMap((socket) => range(0, 8).map(() => write(socket))))
    }
    return {done: pause(0).then(done), count: () => count, refusals}
  }
  const nodes = await Promise.all([writersAt(one), writersAt(two)])
  await pause(SECONDS * 1_000)
  over.abort()
  await Promise.all(nodes.map(({done}) => done))
  const counts = nodes.map(({count}) => count())
  process.stdout.write(`a hot room: ${counts.join(' and ')} messages in ${SECONDS} s\n`)
  expect(nodes.flatMap(({refusals}) => refusals)).toEqual([])
  expect(Math.min(...counts) / (counts[0]! + counts[1]!)).toBeGreaterThanOrEqual(0.25)
})
